"""Progress for people: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from pathlib import Path

import pytest
from rich.console import Console

from lossforge import pipeline
from lossforge.cli.display import STOPPED, Display, warnings_to
from lossforge.evidence import Arm, Choices
from lossforge.run_content import STOP_REASONS
from lossforge.spec import RunSpec, TrainSpec
from lossforge.training import EpochRecord
from lossforge.training.metrics import ClassificationMetrics
from lossforge.training.result import TrainingResult

METRICS = ClassificationMetrics(accuracy=0.5, nll=1.0, brier=0.5, ece=0.1, debiased_ece=0.05, class_accuracy=(0.5,))


def console(terminal: bool, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, force_interactive=terminal, width=width, legacy_windows=False
    )


def text(display: Display) -> str:
    assert isinstance(display.console.file, io.StringIO)
    return display.console.file.getvalue()


def record(generation: int = 0, **changes) -> dict:
    return {
        "restart": 0,
        "generation": generation,
        "num_solutions": 8,
        "num_feasible": 4,
        "best_fitness": 0.0125,
        "pass_rates": {"finite": 1.0, "signs": 0.5},
        "stopped": None,
        **changes,
    }


def arm(loss: str = "tiny", seconds: float | None = 10.0, restored: bool = False, **changes) -> Arm:
    result = TrainingResult(**{"metrics": METRICS, "epochs": (), "diverged_at_epoch": None, **changes}, seconds=seconds)
    return Arm(loss, 0, 1, result, restored)


@pytest.fixture
def spec(training_spec: Path) -> RunSpec:
    return RunSpec.from_yaml(training_spec)


class TestInATerminal:
    def test_a_whole_run_shows_bars_and_leaves_lines(self, spec, folder):
        with Display(console(terminal=True)) as display:
            pipeline.run(spec, folder / "run", display)
        shown = text(display)
        assert "search" in shown
        assert "ETA" in shown
        assert "cross_entropy, seed 1" in shown
        assert "trained 6/6" in shown

    def test_a_bar_has_generation_fitness_gates_and_the_time_left(self, spec):
        display = Display(console(terminal=True))
        display.began(spec, Path("run"))
        with display:
            display.generation(record(1), 0.1)
            display._bars.progress.refresh()
        (line,) = {line for line in text(display).splitlines() if "search" in line and "2/4" in line}
        assert "best fitness 0.0125, gates 50%" in line
        assert "ETA" in line

    def test_a_training_has_a_bar_until_it_is_done(self, spec):
        display = Display(console(terminal=True))
        display.began(spec, Path("run"))
        with display:
            display.epoch("gce(q=[0.5])", {0: EpochRecord(1, 0.25, 0.75, 1234.5)})
            display._bars.progress.refresh()
            assert "gce(q=[0.5]), seed 0" in text(display)
            assert "loss 0.25 acc 75.0% 1,234 img/s" in text(display)
            assert len(display._bars.progress.tasks) == 1
            display.trained(arm("gce(q=[0.5])"))
            assert display._bars.progress.tasks == []

    def test_a_training_moves_within_an_epoch_and_keeps_its_text(self, spec):
        display = Display(console(terminal=True))
        display.began(spec, Path("run"))
        with display:
            display.step("tiny", 0, 0.25)
            display._bars.progress.refresh()
            assert "tiny, seed 0" in text(display)
            assert "0/1" in text(display)
            display.epoch("tiny", {0: EpochRecord(1, 0.25, 0.75, 10.0)})
            display.step("tiny", 0, 1.5)
            (task,) = display._bars.progress.tasks
            assert (task.completed, task.fields["text"]) == (1.5, "loss 0.25 acc 75.0% 10 img/s")

    @pytest.mark.parametrize("width", [20, 40, 200])
    def test_any_width_will_do(self, spec, width):
        display = Display(console(terminal=True, width=width))
        with display:
            display.began(spec, Path("run"))
            display.generation(record(0), 0.1)
            display.epoch("tiny", {0: EpochRecord(1, 0.25, 0.75)})
            display.trained(arm())
            display._bars.progress.refresh()
        assert "test accuracy 50.00%" in text(display).replace("\n", "")

    def test_the_cursor_comes_back_after_an_error(self, spec):
        display = Display(console(terminal=True))
        display.generation(record(0), 0.1)
        with contextlib.suppress(KeyboardInterrupt), display:
            raise KeyboardInterrupt
        hide, show = "\x1b[?25l", "\x1b[?25h"
        assert hide in text(display)
        assert text(display).rindex(show) > text(display).rindex(hide)


class TestPlainLines:
    @pytest.fixture
    def display(self, spec) -> Display:
        display = Display(console(terminal=False))
        with display:
            display.began(spec, Path("runs/[tiny]"))
        return display

    def test_no_escape_codes(self, display, spec, folder):
        with display:
            pipeline.run(spec, folder / "run", display)
        assert "\x1b" not in text(display)
        assert "\r" not in text(display)

    def test_the_first_line_says_what_runs_where(self, display):
        assert text(display) == "tiny in runs/[tiny], seed 0, on auto\n"

    def test_a_search_line(self, display):
        display.generation(record(0), 2.0)
        display.generation(record(1), 4.0)
        line = text(display).splitlines()[-1]
        assert line == "search 2/4  best fitness 0.0125; gates passed: finite 100%, signs 50%; about 6 s left"

    def test_one_of_several_searches_has_its_number_and_the_time_of_all(self, spec):
        display = Display(console(terminal=False))
        search = spec.search.model_copy(update={"restarts": 3})
        display.began(spec.model_copy(update={"search": search}), Path("run"))
        display.generation(record(0, restart=1), 2.0)
        line = text(display).splitlines()[-1]
        assert line.startswith("search 2 of 3 1/4  best fitness 0.0125; ")
        assert line.endswith("about 14 s left"), "3 generations here and 4 in the next"

    @pytest.mark.parametrize("reason", sorted(set(STOP_REASONS) - {"generations"}))
    def test_why_a_search_stopped_early(self, display, reason):
        display.generation(record(1, stopped=reason), 0.1)
        (*_, line, last) = text(display).splitlines()
        assert line.startswith("search 2/4")
        assert last == f"search stopped: {STOPPED[reason]}"

    def test_a_search_that_has_done_its_generations_needs_no_reason(self, display):
        display.generation(record(3, stopped="generations"), 0.1)
        assert text(display).splitlines()[-1].startswith("search 4/4")

    def test_warnings_are_shown_while_they_are_listened_to(self, display):
        logger = logging.getLogger("lossforge.search")
        with warnings_to(display):
            logger.warning("00000003 is [damaged] (%s)", "half of it")
            logger.info("nothing to see")
        logger.warning("too late")
        assert text(display).splitlines()[1:] == ["warning: 00000003 is [damaged] (half of it)"]

    def test_less_than_a_second_is_not_worth_telling(self, display):
        display.generation(record(0), 0.2)
        assert text(display).splitlines()[-1].endswith("signs 50%")

    def test_a_search_line_with_nothing_feasible(self, display):
        display.generation(record(3, num_feasible=0, best_fitness=0.5), 1.0)
        assert text(display).splitlines()[-1] == ("search 4/4  none feasible; gates passed: finite 100%, signs 50%")

    def test_a_fitness_that_is_not_finite(self, display):
        display.generation(record(3, best_fitness=None), 1.0)
        assert "best fitness not finite" in text(display)

    def test_trainings_say_how_long_the_rest_takes_by_those_done_now(self, display, monkeypatch):
        display.trained(arm("tiny", seconds=None, restored=True))
        assert text(display).splitlines()[-1] == (
            "trained 1/6  tiny, seed 0: test accuracy 50.00%, NLL 1.000 (read back)"
        )
        began = display._training._began
        monkeypatch.setattr(time, "monotonic", lambda: began + 40)
        display.epoch("gce", {0: EpochRecord(1, 0.25, 0.75)})
        display.trained(arm("gce"))
        assert text(display).splitlines()[-1].endswith("NLL 1.000; about 2 min 40 s left")

    def test_the_time_left_of_trainings_that_are_one_computation(self, monkeypatch):
        """Also where they had been interrupted: each record is of all of them."""
        clock = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        display = Display(console(terminal=False))
        spec = TrainSpec(losses=("mae", "gce"), training={"dataset": "digits", "model": "resnet8"}, seeds=4)
        display.training(spec, Path("there"))
        for epoch, left in ((3, "21 min 40 s"), (4, "20 min 0 s")):  # 13 and 12 times four epochs, of 100 s
            clock[0] += 100.0
            display.epoch("mae", {seed: EpochRecord(epoch, 0.25, 0.75, 10.0) for seed in range(4)})
            lines = text(display).splitlines()[-4:]
            assert [line.partition(":")[0] for line in lines] == [f"mae, seed {seed}" for seed in range(4)]
            assert all(
                line.endswith(f"epoch {epoch}/8, loss 0.250, accuracy 75.0%, 10 images/s; about {left} left")
                for line in lines
            )

    def test_the_time_left_is_by_the_epochs_of_all_trainings_at_once(self, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        display = Display(console(terminal=False))
        spec = TrainSpec(losses=("mae", "gce"), training={"dataset": "digits", "model": "resnet8"}, seeds=2)
        display.training(spec, Path("there"))
        clock[0] = 30.0
        display.chosen(Choices("bfloat16", "processes", {}))  # what took so long was no training
        clock[0] += 61.0
        display.epoch("mae", {0: EpochRecord(5, 0.25, 0.75, 10.0)})  # its first four were before an interruption
        assert text(display).splitlines()[-1].endswith("10 images/s; about 27 min 27 s left"), "27 epochs, of 61 s each"
        display.epoch("mae", {1: EpochRecord(1, 0.25, 0.75)})
        clock[0] += 61.0
        display.epoch("mae", {1: EpochRecord(2, 0.25, 0.75, 10.0)})
        assert text(display).splitlines()[-1].endswith("; about 16 min 57 s left"), "25 epochs, of 40.7 s each"
        display.trained(arm("mae", metrics=None, diverged_at_epoch=6))
        assert text(display).splitlines()[-1].endswith("; about 14 min 55 s left"), "those it had left are none now"

    def test_a_training_that_diverged(self, display):
        display.trained(arm(metrics=None, diverged_at_epoch=3))
        assert "trained 1/6  tiny, seed 0: diverged in epoch 3" in text(display)

    def test_epochs_are_told_once_a_minute(self, display, monkeypatch):
        now = time.monotonic()
        before = text(display)
        display.epoch("tiny", {0: EpochRecord(1, 0.25, 0.75, 1234.5)})
        assert text(display) == before
        monkeypatch.setattr(time, "monotonic", lambda: now + 61)
        display.epoch("tiny", {0: EpochRecord(2, 0.25, 0.75, 1234.5)})
        display.epoch("tiny", {1: EpochRecord(2, 0.5, 0.5, None)})
        told = text(display).removeprefix(before)
        assert told.partition(";")[0] == "tiny, seed 0: epoch 2/1, loss 0.250, accuracy 75.0%, 1,234 images/s"
        assert told.count("\n") == 1

    def test_choices_by_timing_are_told_with_their_reason(self, display):
        before = text(display)
        reasons = {"precision": "a step takes in float32 9.0 ms, bfloat16 5.0 ms", "replication": "one seed at a time"}
        display.chosen(Choices("bfloat16", "in_turn", reasons))
        assert text(display).removeprefix(before) == f"precision bfloat16: {reasons['precision']}\n"

    def test_trainings_without_a_search(self, display):
        spec = TrainSpec(losses=("mae", "gce"), training={"dataset": "digits", "model": "resnet8"}, seeds=3)
        display.training(spec, Path("there"))
        assert text(display).splitlines()[-1] == "resnet8 on digits in there, seed 0: 6 trainings of 8 epochs"
        display.trained(arm("mae"))
        assert "trained 1/6  mae, seed 0" in text(display)
