"""What a training relies on in a dataset."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lossforge.interfaces import Dataset
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched, seed_everything
from lossforge.testing.states import same_bits
from lossforge.types import ImageData, ImageSet


class DatasetKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.Dataset` whose images are there; it is loaded several times."""

    base = Dataset

    def test_it_has_images_of_one_shape_to_train_and_test_with(self, component: Dataset) -> None:
        """uint8 (N, C, H, W), at least one in each part."""
        data = component.load()
        assert isinstance(data, ImageData), f"load() returned a {type(data).__name__}, not an ImageData"
        for name, part in parts(data).items():
            images = part.images_NCHW
            assert images.dtype == torch.uint8, (
                f"images of the {name} part are {images.dtype}; they are uint8 in 0..255"
            )
            assert images.dim() == 4, (
                f"images of the {name} part have the shape {tuple(images.shape)}, not (N, C, H, W)"
            )
            assert images.numel(), f"there are no images in the {name} part: {tuple(images.shape)}"
            assert images.device.type == "cpu", f"images of the {name} part are on {images.device}, not in memory"
        shapes = [tuple(part.images_NCHW.shape[1:]) for part in parts(data).values()]
        assert shapes[0] == shapes[1], f"images to train with are {shapes[0]}, those to test with {shapes[1]}"

    def test_every_image_has_a_label_that_is_a_class(self, component: Dataset) -> None:
        """int64 indices into ``class_names``."""
        data = component.load()
        for name, part in parts(data).items():
            labels_N = part.labels_N
            assert labels_N.dtype == torch.int64, f"labels of the {name} part are {labels_N.dtype}; they are int64"
            assert labels_N.shape == part.images_NCHW.shape[:1], (
                f"the {name} part has {len(part.images_NCHW)} images and labels of shape {tuple(labels_N.shape)}"
            )
            low, high, num = labels_N.min().item(), labels_N.max().item(), len(data.class_names)
            assert 0 <= low <= high < num, f"labels of the {name} part are in [{low}, {high}], classes in [0, {num})"

    def test_classes_have_names(self, component: Dataset) -> None:
        """A tuple of at least two distinct strings, in label order."""
        names = component.load().class_names
        assert isinstance(names, tuple), f"class_names is a {type(names).__name__}, it must be a tuple"
        assert len(names) >= 2, f"there are {len(names)} classes; a classifier needs two"
        assert all(isinstance(name, str) and name for name in names), f"class_names are strings, got {names[:10]}"
        assert len(set(names)) == len(names), f"class_names repeat: {names[:10]}"

    def test_the_options_alone_decide(self, component: Dataset) -> None:
        """Every load is the same, whatever the global random state, which is left alone."""
        seed_everything(1)
        with global_state_untouched("load()"):
            first = tensors(component.load())
        seed_everything(2)
        again = tensors(component.load())
        differ = [name for name, values in first.items() if not same_bits(values, again[name])]
        assert not differ, f"two loads differ in {', '.join(differ)}: options alone may decide"

    def test_what_is_loaded_is_the_callers(self, component: Dataset) -> None:
        """Whoever writes into the images changes no other load."""
        first = tensors(component.load())
        kept = {name: values.clone() for name, values in first.items()}
        for values in first.values():
            values.fill_(0)
        again = tensors(component.load())
        shared = [name for name, values in kept.items() if not same_bits(values, again[name])]
        assert not shared, f"loads share memory: {', '.join(shared)}; return copies"

    def test_a_fresh_process_comes_to_the_same_bytes(self, component: Dataset) -> None:
        """Images, labels and names."""
        require_registered(component)
        same_in_a_fresh_process(results, component)


def parts(data: ImageData) -> Mapping[str, ImageSet]:
    """Return both parts by name."""
    return {"training": data.train, "test": data.test}


def tensors(data: ImageData) -> dict[str, Tensor]:
    """Return images and labels of both parts by name."""
    return {
        f"{what} of the {name} part": values
        for name, part in parts(data).items()
        for what, values in (("images", part.images_NCHW), ("labels", part.labels_N))
    }


def results(dataset: Dataset) -> Mapping[str, object]:
    """Return what a fresh process has to come to."""
    data = dataset.load()
    return {**tensors(data), "class_names": list(data.class_names)}
