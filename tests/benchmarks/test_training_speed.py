"""Training steps beside those of a hand-written loop; `make bench` runs it, and `pytest` passes it over.

Contenders are processes that take five steps in turns, so that a busy machine is as busy for each. A row is ours; what
the others came to in the same rounds is printed below it, as medians, and is in ``extra_info``.
"""

import contextlib
import dataclasses
import os
import statistics
import time

import pytest
import torch
from torch import nn
from training_contenders import Contender, Running

import lossforge
from lossforge import presets
from lossforge.training import prepare
from lossforge.training.memory import kept_memory
from lossforge.training.steps import batches, start, train_step

STEPS, ROUNDS, WARM_UP = 5, 12, 3
BATCH_SIZE = 128
ROUNDS_OF_LOSSES = 80


@pytest.fixture(scope="module")
def found_loss():
    return lossforge.Search(presets.load("edl").search, seed=0).run().loss()


def compared(benchmark, ours, others):
    """Time ``ours`` with the others in turns, and print images a second and their ratios."""
    threads = os.cpu_count() or 1
    with contextlib.ExitStack() as stack:
        mine, *theirs = [stack.enter_context(Running(each, "cpu", threads)) for each in (ours, *others.values())]
        for each in (mine, *theirs):
            each.seconds(WARM_UP)
        seconds = {name: [] for name in ("ours", *others)}

        def turn_of_the_others():
            for name, each in zip(others, theirs, strict=True):
                seconds[name].append(each.seconds(STEPS))

        benchmark.pedantic(lambda: seconds["ours"].append(mine.seconds(STEPS)), setup=turn_of_the_others, rounds=ROUNDS)
    rates = {name: STEPS * BATCH_SIZE / statistics.median(taken) for name, taken in seconds.items()}
    ratios = {
        name: statistics.median(their / our for their, our in zip(seconds[name], seconds["ours"], strict=True))
        for name in others
    }
    benchmark.extra_info.update(images_per_second=rates, ours_over=ratios, threads=threads, torch=torch.__version__)
    print(f"\n{benchmark.name}, {threads} threads: ours {rates['ours']:.0f} images/s")
    for name, ratio in ratios.items():
        print(f"  {name}: {rates[name]:.0f} images/s; ours is {ratio:.3f} times as fast")
    return ratios


@pytest.mark.benchmark(group="a step of ResNet-20, batch 128")
def test_beside_a_bare_step_and_a_naive_loop(benchmark):
    ratios = compared(benchmark, Contender("ours"), {"bare": Contender("bare"), "naive": Contender("naive")})
    assert set(ratios) == {"bare", "naive"}


@pytest.mark.benchmark(group="a step of ResNet-20, batch 128")
def test_compiled_beside_a_compiled_bare_step(benchmark):
    compiled = {"compile": True}
    ratios = compared(benchmark, Contender("ours", options=compiled), {"bare": Contender("bare", options=compiled)})
    assert set(ratios) == {"bare"}


@pytest.mark.benchmark(group="a step of ResNet-20, batch 128")
def test_the_found_loss_beside_cross_entropy(benchmark, found_loss):
    """Steps of one network in one process, for processes differ by more than losses do: two with either, in turn."""
    spec = Contender("ours").spec()
    training = start(spec, prepare(spec, 0, "cpu"), nn.CrossEntropyLoss(), [0], "bfloat16")
    with_found = dataclasses.replace(training, losses=(found_loss,))
    batch = next(batches(training, 1))
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    seconds = {"cross-entropy": [], "found": []}

    def step(name, of):
        began = time.perf_counter()
        train_step(of, 0, batch)
        seconds[name].append(time.perf_counter() - began)

    def two_with_cross_entropy():
        if len(seconds["found"]) % 2 == 0:
            for _ in range(2):
                step("cross-entropy", training)

    with kept_memory(torch.device("cpu")):
        for _ in range(WARM_UP):
            train_step(training, 0, batch)
            train_step(with_found, 0, batch)
        benchmark.pedantic(lambda: step("found", with_found), setup=two_with_cross_entropy, rounds=ROUNDS_OF_LOSSES)
    torch.set_num_threads(threads)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    more = medians["found"] / medians["cross-entropy"] - 1
    benchmark.extra_info.update(seconds_of_a_step=medians, more_than_cross_entropy=more)
    print(f"\n{benchmark.name}: {1e3 * medians['found']:.2f} ms a step, {more:+.2%} beside cross-entropy")
    assert len(seconds["found"]) == len(seconds["cross-entropy"]) == ROUNDS_OF_LOSSES
