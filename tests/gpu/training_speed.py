"""How fast networks are trained on a CUDA device: ``python tests/gpu/training_speed.py``.

First that it is right: one seed twice, compiled or with CUDA graphs, grouped replicas and separate ones. Then how
fast: images a second of ResNet-18 and ResNet-20, the share of the card's bf16 peak and of the time that batches cost;
what a found loss costs more than cross-entropy; eight seeds stacked and in turn. Each figure is a median of rounds in
which the contenders, processes of their own, take turns. Without a CUDA device, smaller sizes are timed on the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from training_contenders import Contender, Running

import lossforge
from lossforge import presets
from lossforge.spec import TrainingSpec
from lossforge.training import prepare, train_classifier, train_together
from lossforge.training.models import ResNet8, ResNet18, ResNet20

PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
"""Dense bf16 peaks of the makers' data sheets, by a part of the device's name."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="one short round on small batches: whether it runs")
    quick = options.parse_args().quick
    device = "cuda" if torch.cuda.is_available() else "cpu"
    describe(device)
    check(device, quick)
    rounds, steps = (1, 2) if quick else (7, 20) if device == "cuda" else (5, 3)
    for title, contenders in comparisons(device, quick).items():
        report(title, contenders, device, rounds, steps, warm_up=1 if quick else 3)


def describe(device: str) -> None:
    print("torch", torch.__version__, "CUDA", torch.version.cuda)
    if device == "cpu":
        print("no CUDA device: the CPU,", torch.get_num_threads(), "threads")
        return
    properties = torch.cuda.get_device_properties(0)
    print(f"CUDA device {properties.name}, {properties.multi_processor_count} multiprocessors")


def check(device: str, quick: bool) -> None:
    """Train a small network in each way, and say how far the ways are apart."""
    settings = {"dataset": {"type": "fake", "num_train": 512, "image_shape": (3, 16, 16)}, "model": ResNet8()}
    settings |= {"epochs": 2, "batch_size": 64, "learning_rate": 0.02}
    plain = TrainingSpec(precision="float32", **settings)
    data = prepare(plain, 0, device)
    loss = nn.CrossEntropyLoss()
    first, again = (train_classifier(plain, data, loss, seed=1).test.logits_NC for _ in range(2))
    print("one seed twice: the same bits" if torch.equal(first, again) else "one seed twice: OTHER BITS")
    ways = {} if quick else {"compiled": {"compile": True}}
    if device == "cuda" and not quick:
        ways["CUDA graphs"] = {"compile": True, "cuda_graphs": True}
    for name, options in ways.items():
        logits_NC = train_classifier(plain.model_copy(update=options), data, loss, seed=1).test.logits_NC
        print(f"{name}: logits within {difference(logits_NC, first):.1e} of the plain ones")
    grouped = train_together(plain, data, loss, [1, 2, 3])
    print(f"grouped: logits within {difference(grouped[0].test.logits_NC, first):.1e} of the plain ones", flush=True)


def difference(one_NC: torch.Tensor, other_NC: torch.Tensor) -> float:
    return float((one_NC - other_NC).abs().max() / other_NC.abs().max())


def comparisons(device: str, quick: bool) -> dict[str, dict[str, Contender]]:
    """Return contenders by the title of what they are compared in; the first of each is the reference."""
    found = lossforge.Search(presets.load("edl").search, seed=0).run().loss()
    small = {"batch_size": 8 if quick else 128}
    large = {"model": "resnet18", "batch_size": 8 if quick else 512 if device == "cuda" else 16}
    replicas = 2 if quick else 8 if device == "cuda" else 4
    fused = {"compile": True, "cuda_graphs": device == "cuda"}
    return {
        f"ResNet-20, batch {small['batch_size']}": {
            "bare": Contender("bare", **small),
            "ours": Contender("ours", **small),
            "naive": Contender("naive", **small),
            **({} if quick else {"ours, compiled": Contender("ours", options=fused, **small)}),
        },
        f"ResNet-18, batch {large['batch_size']}": {
            "bare": Contender("bare", **large),
            "ours": Contender("ours", **large),
            **({} if quick else {"ours, compiled": Contender("ours", options=fused, **large)}),
            "batches alone": Contender("data", **large),
        },
        "the found loss": {
            "cross-entropy": Contender("ours", **small),
            "found": Contender("ours", loss=found, **small),
        },
        f"ResNet-20, {replicas} seeds": {
            "in turn": Contender("ours", **small),
            "stacked": Contender("ours", stacked=replicas, **small),
        },
    }


def report(title: str, contenders: Mapping[str, Contender], device: str, rounds: int, steps: int, warm_up: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(Running(each, device, torch.get_num_threads())) for each in contenders.values()]
        for each in running:
            each.seconds(warm_up)
        for _ in range(rounds):
            for name, each in zip(contenders, running, strict=True):
                taken[name].append(each.seconds(steps))
    print(f"\n{title}")
    reference = next(iter(contenders))
    for name, contender in contenders.items():
        rate = contender.stacked * contender.batch_size * steps / statistics.median(taken[name])
        ratio = statistics.median(
            contender.stacked * other / own for other, own in zip(taken[reference], taken[name], strict=True)
        )
        print(
            f"  {name:16} {rate:12,.0f} images/s, {ratio:.3f} of {reference}{share_of_peak(contender, rate)}",
            flush=True,
        )


def share_of_peak(contender: Contender, rate: float) -> str:
    """Return the share of the device's bf16 peak: three times the products of a forward pass, two operations each."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peaks = [peak for part, peak in PEAK_TFLOPS.items() if part in name]
    if not peaks or contender.loop == "data":
        return ""
    model = ResNet18() if contender.model == "resnet18" else ResNet20()
    network = model.build((3, 32, 32), 10, torch.Generator())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32))
    return f", {3 * counter.get_total_flops() * rate / (peaks[0] * 1e12):.1%} of the bf16 peak"


if __name__ == "__main__":
    main()
