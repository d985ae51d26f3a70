"""Loops that train the same network on the same images, each in a process of its own, run in turns.

ours: the trainer's steps, with all they do: order, mirrored crops of a reflected border, normalisation, schedule,
accuracy. bare: a hand-written step on one batch that lies ready on the device: forward, loss, backward, fused SGD, in
bfloat16 autocast and channels-last memory. naive: what many write first: a DataLoader over tensors, transforms of
torchvision image by image, float32. Each may carry a loss module; by default it is ``nn.CrossEntropyLoss``.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Self

import torch
from torch import nn

from lossforge.spec import TrainingSpec
from lossforge.training import prepare
from lossforge.training.memory import kept_memory
from lossforge.training.steps import batches, start, train_step


@dataclass(frozen=True)
class Contender:
    """A loop to be timed.

    Attributes:
        loop: ``ours``, ``bare``, ``naive``, or ``data``, the batches of ours without the training.
        options: of the spec of the training, beside dataset and precision.
        loss: what is minimised.
        stacked: networks that ours trains as one grouped computation.
    """

    loop: str
    model: str = "resnet20"
    batch_size: int = 128
    options: dict[str, Any] = field(default_factory=dict)
    loss: nn.Module = field(default_factory=nn.CrossEntropyLoss)
    stacked: int = 1

    def spec(self) -> TrainingSpec:
        dataset = {"type": "fake", "num_train": max(5000, 4 * self.batch_size)}
        settings = {"precision": "bfloat16", "batch_size": self.batch_size, "epochs": 1000, **self.options}
        return TrainingSpec(dataset=dataset, model=self.model, **settings)


class Running:
    """A contender in a process; use it as a context manager."""

    def __init__(self, contender: Contender, device: str, threads: int) -> None:
        # A server does the imports once, and forks; it computes nothing, so it has neither threads nor a CUDA context.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["lossforge.training.steps"])
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(contender, device, threads, there), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._here.send(None)
        self._process.join()

    def seconds(self, num_steps: int) -> float:
        """Return how long so many steps take."""
        self._here.send(num_steps)
        answer = self._here.recv()
        if isinstance(answer, Exception):
            raise answer
        return float(answer)


def _serve(contender: Contender, device: str, threads: int, pipe: Connection) -> None:
    torch.set_num_threads(threads)
    try:
        take = LOOPS[contender.loop](contender, torch.device(device))
        while (num_steps := pipe.recv()) is not None:
            began = time.perf_counter()
            take(num_steps)
            if device == "cuda":
                torch.cuda.synchronize()
            pipe.send(time.perf_counter() - began)
    except (RuntimeError, ValueError) as error:
        pipe.send(error)


def _ours(contender: Contender, device: torch.device) -> Callable[[int], None]:
    spec = contender.spec()
    data = prepare(spec, 0, device)
    training = start(spec, data, contender.loss, range(contender.stacked), spec.precision)
    steps = enumerate(itertools.chain.from_iterable(batches(training, epoch) for epoch in itertools.count(1)))
    kept_memory(device).__enter__()
    training.replicas.train()
    total = torch.zeros(contender.stacked, dtype=torch.float64, device=device)

    def take(num_steps: int) -> None:
        for step, batch in itertools.islice(steps, num_steps):
            loss_R, correct_R = train_step(training, step, batch)
            total.add_(loss_R).add_(correct_R)

    return take


def _data(contender: Contender, device: torch.device) -> Callable[[int], None]:
    spec = contender.spec()
    training = start(spec, prepare(spec, 0, device), contender.loss, range(contender.stacked), spec.precision)
    epochs = itertools.chain.from_iterable(batches(training, epoch) for epoch in itertools.count(1))

    def take(num_steps: int) -> None:
        for _ in itertools.islice(epochs, num_steps):
            pass

    return take


def _bare(contender: Contender, device: torch.device) -> Callable[[int], None]:
    network = _network(contender).to(device, memory_format=torch.channels_last)
    if contender.options.get("compile"):
        network = torch.compile(network)
    optimizer = _sgd(network, fused=True)
    images = torch.randn(contender.batch_size, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (contender.batch_size,), device=device)
    loss = contender.loss.to(device)

    def take(num_steps: int) -> None:
        for _ in range(num_steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16):
                logits = network(images)
            loss(logits.float(), labels).backward()
            optimizer.step()

    return take


def _naive(contender: Contender, device: torch.device) -> Callable[[int], None]:
    from torchvision.transforms import v2

    images = contender.spec().dataset.load().train
    transform = v2.Compose(
        [
            v2.RandomCrop(32, padding=4, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    pairs = [(image, label) for image, label in zip(images.images_NCHW, images.labels_N.tolist(), strict=True)]
    loader = torch.utils.data.DataLoader(
        _Transformed(pairs, transform), batch_size=contender.batch_size, shuffle=True, drop_last=True
    )
    network = _network(contender).to(device)
    optimizer = _sgd(network, fused=False)
    loss = contender.loss.to(device)
    endless = itertools.chain.from_iterable(iter(loader) for _ in itertools.count())
    total = 0.0

    def take(num_steps: int) -> None:
        nonlocal total
        for batch, labels in itertools.islice(endless, num_steps):
            optimizer.zero_grad()
            value = loss(network(batch.to(device)), labels.to(device))
            value.backward()
            optimizer.step()
            total += value.item()

    return take


class _Transformed(torch.utils.data.Dataset):
    def __init__(self, pairs: Sequence[tuple[torch.Tensor, int]], transform: Callable[[torch.Tensor], torch.Tensor]):
        self._pairs, self._transform = pairs, transform

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self._pairs[index]
        return self._transform(image), label


def _network(contender: Contender) -> nn.Module:
    return contender.spec().model.build((3, 32, 32), 10, torch.Generator().manual_seed(0))


def _sgd(network: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=fused)


LOOPS = {"ours": _ours, "bare": _bare, "naive": _naive, "data": _data}
