"""What a training relies on in a model."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lossforge.interfaces import Model
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched, seed_everything, seeded
from lossforge.testing.states import same_bits


class ModelKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.Model`.

    Attributes:
        image_shape: (C, H, W) of images that the network takes, the smaller the quicker.
        num_classes: how many logits it is to have.
    """

    base = Model
    image_shape: ClassVar[tuple[int, int, int]] = (3, 8, 8)
    num_classes: ClassVar[int] = 7

    def test_images_become_logits(self, component: Model, device: str) -> None:
        """(N, C, H, W) images to finite float32 (N, num_classes) logits, in both modes; training is the first."""
        network = self.built(component).to(device)
        assert isinstance(network, nn.Module), f"build() returned a {type(network).__name__}, not an nn.Module"
        assert network.training, "build() returned a network in evaluation mode"
        for mode in ("training", "evaluation"):
            logits = self.logits(network.train(mode == "training"), device)
            found, expected = (tuple(logits.shape), logits.dtype), ((4, self.num_classes), torch.float32)
            assert found == expected, f"in {mode} mode logits are {found}, they must be {expected}"
            assert logits.isfinite().all(), f"in {mode} mode logits are not finite"

    def test_a_gradient_reaches_every_parameter(self, component: Model, device: str) -> None:
        """Finite, and not 0 everywhere."""
        network = self.built(component).to(device)
        names, parameters = zip(*network.named_parameters(), strict=True)
        total = self.logits(network, device).square().mean()
        for name, gradient in zip(names, torch.autograd.grad(total, parameters, allow_unused=True), strict=True):
            assert gradient is not None, f"no gradient reaches {name}"
            assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
            assert gradient.any(), f"the gradient of {name} is 0 everywhere"

    def test_the_generator_alone_decides(self, component: Model) -> None:
        """Global random states are neither used nor moved; one seed gives one network, another another."""
        seed_everything(1)
        with global_state_untouched("build()"):
            first = self.build(component).state_dict()
        seed_everything(2)
        again = self.built(component).state_dict()
        differ = [name for name, values in first.items() if not same_bits(values, again[name])]
        assert not differ, f"generators of the same seed gave other weights: {', '.join(differ[:5])}"
        bad = [name for name, values in first.items() if not values.isfinite().all()]
        assert not bad, f"weights are not finite: {', '.join(bad[:5])}"

    def test_every_weight_is_drawn(self, component: Model) -> None:
        """Two builds with one generator, which goes on, differ in the weights of every convolution and linear layer."""
        generator = seeded(0)
        first, second = (component.build(self.image_shape, self.num_classes, generator) for _ in range(2))
        others = dict(second.named_modules())
        for name, layer in first.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                weight = others[name].weight
                assert not torch.equal(layer.weight, weight), f"{name}.weight is not drawn from the generator"

    def test_copies_and_restored_states_say_the_same(self, component: Model) -> None:
        """All that the logits depend on is in ``state_dict``."""
        network = self.built(component).eval()
        expected = self.logits(network)
        assert same_bits(self.logits(copy.deepcopy(network)), expected), "a deep copy has other logits"
        other = self.build(component, seed=1).eval()
        other.load_state_dict(network.state_dict())
        assert same_bits(self.logits(other), expected), (
            "a network with the same state_dict has other logits: whatever they depend on is a parameter or a buffer"
        )

    def test_images_are_left_alone(self, component: Model) -> None:
        """In training mode, which has no rights to them either."""
        images = self.images()
        self.logits(self.built(component), images=images)
        assert torch.equal(images, self.images()), "the network changed its images in place"

    def test_a_fresh_process_comes_to_the_same_bytes(self, component: Model) -> None:
        """Every weight and buffer of a fresh network."""
        require_registered(component)
        same_in_a_fresh_process(results, component, image_shape=self.image_shape, num_classes=self.num_classes)

    def build(self, component: Model, seed: int = 0) -> nn.Module:
        """Build a network."""
        return component.build(self.image_shape, self.num_classes, seeded(seed))

    def built(self, component: Model) -> nn.Module:
        """Return a copy of the network of seed 0, which is built once."""
        options = component.model_dump_json()
        return copy.deepcopy(_remembered(type(component), options, self.image_shape, self.num_classes))

    def images(self, device: str = "cpu") -> Tensor:
        """Return four images of noise."""
        return torch.randn(4, *self.image_shape, generator=seeded(5)).to(device)

    def logits(self, network: nn.Module, device: str = "cpu", images: Tensor | None = None) -> Tensor:
        """Return the logits of four images, with labels where the network takes them."""
        images = self.images(device) if images is None else images
        labels = (torch.arange(4, device=device) % self.num_classes,)
        takes_labels = network.training and getattr(network, "takes_labels", False)
        logits: Tensor = network(images, *labels) if takes_labels else network(images)
        return logits


@functools.lru_cache(maxsize=1)
def _remembered(cls: type[Model], options: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return cls.model_validate_json(options).build(image_shape, num_classes, seeded())


def results(model: Model, image_shape: Sequence[int], num_classes: int) -> Mapping[str, Tensor]:
    """Return what a fresh process has to come to."""
    channels, height, width = image_shape
    return model.build((channels, height, width), num_classes, seeded()).state_dict()
