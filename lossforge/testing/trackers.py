"""What runs rely on in a tracker."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pytest

from lossforge.errors import LossforgeError
from lossforge.interfaces import Tracker, TrackerSession
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import digests, digests_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched
from lossforge.testing.tracker_inputs import NAMES, SETTINGS
from lossforge.types import Setting, TrackedRun

Series = Mapping[str, Sequence[tuple[int, float]]]
"""Steps and values by the name of a metric."""

TOLD = {"search/best_fitness": [3.0, 2.0, 1.0, 0.5], "train/mae/seed-0/train_loss": [4.0, 3.0, 2.0, 1.0]}


class TrackerKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.Tracker`; define :meth:`read`, too."""

    base = Tracker
    library: ClassVar[str | None] = None
    """Module of what the tracker writes with; it is imported by ``open`` alone."""

    def read(self, component: Tracker, run: TrackedRun) -> Series:
        """Return all that the library's own reader shows of the metrics of a run; to be defined by every subclass."""
        pytest.fail(f"{type(self).__name__} needs a method `read` that returns what the library shows of a run")

    def shown(self, name: str) -> str:
        """Return how a metric's name is shown; to be defined where the library does not take every name."""
        return name

    @pytest.fixture
    def places(self) -> tuple[Path, ...]:
        """Return where the component's options let it write, besides the run directory."""
        return ()

    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackedRun:
        """Return a run whose directory is there; the current folder is an empty one."""
        here = tmp_path / "current folder"
        here.mkdir()
        monkeypatch.chdir(here)
        return begun(tmp_path / "runs" / "kit")

    def test_what_is_told_is_shown(self, component: Tracker, run: TrackedRun) -> None:
        """Every metric at every step, once, to float32 at least."""
        told = {"search/best_fitness": [0.5, 0.25, 1e-30], "search/feasible": [0.0, -1.0, 1.0]}
        with opened(component, run) as session:
            tell(session, told)
            session.metrics({"result/held_out/fitness": 0.1}, 0)
        self.assert_shown(component, run, {**told, "result/held_out/fitness": [0.1]})

    @pytest.mark.parametrize("is_killed", [False, True], ids=["interrupted", "killed"])
    def test_a_session_that_goes_on_shows_each_step_once(
        self, component: Tracker, run: TrackedRun, is_killed: bool
    ) -> None:
        """What was told before is told again, and not in order; a killed process closes nothing."""
        if is_killed:
            require_registered(component)
            digests_in_a_fresh_process(begin_and_die, component, path=str(run.path))
        else:
            session = component.open(run)
            tell(session, TOLD, steps=range(2))
            session.close(finished=False)
        with opened(component, dataclasses.replace(run, resumed=True)) as again:
            tell(again, TOLD, steps=(2, 3, 0, 1))
        self.assert_shown(component, run, TOLD)

    def test_a_finished_run_can_be_told_again(self, component: Tracker, run: TrackedRun) -> None:
        """With other settings, too: a folder of trainings gets more of them."""
        told = {"result/mae/accuracy_mean": [0.5, 0.6]}
        for settings in (run.settings, {**run.settings, "seeds": 2, "search.strategy.sigma": 0.2}):
            with opened(component, dataclasses.replace(run, settings=settings, resumed=run.settings != settings)) as on:
                tell(on, told)
        self.assert_shown(component, run, told)

    def test_runs_side_by_side_do_not_mix(self, component: Tracker, run: TrackedRun, tmp_path: Path) -> None:
        """Of one name, in folders of one name, told in turns in one process."""
        other = begun(tmp_path / "others" / run.path.name)
        with opened(component, run) as first, opened(component, other) as second:
            for step in range(3):
                first.metrics({"search/best_fitness": float(step)}, step)
                second.metrics({"search/best_fitness": float(-step)}, step)
        self.assert_shown(component, run, {"search/best_fitness": [0.0, 1.0, 2.0]})
        self.assert_shown(component, other, {"search/best_fitness": [0.0, -1.0, -2.0]})

    def test_settings_may_be_anything(self, component: Tracker, run: TrackedRun) -> None:
        """More than 500, very long, null, empty, of any characters."""
        for resumed in (False, True):
            with opened(component, dataclasses.replace(run, settings=SETTINGS, resumed=resumed)) as session:
                tell(session, {"search/best_fitness": [1.0]})
        self.assert_shown(component, run, {"search/best_fitness": [1.0]})

    def test_names_may_be_anything_and_stay_apart(self, component: Tracker, run: TrackedRun) -> None:
        """A library that forbids characters is given other names, and no two series become one."""
        assert len(set(map(self.shown, NAMES))) == len(NAMES), "two metrics have one name"
        told = {name: [float(index), 0.5] for index, name in enumerate(NAMES)}
        for resumed in (False, True):
            with opened(component, dataclasses.replace(run, resumed=resumed)) as session:
                tell(session, told)
        self.assert_shown(component, run, told)

    def test_a_value_need_not_be_finite(self, component: Tracker, run: TrackedRun) -> None:
        """It is shown or left out, and those beside it are shown."""
        for resumed in (False, True):
            with opened(component, dataclasses.replace(run, resumed=resumed)) as session:
                for step, value in enumerate((math.nan, math.inf, -math.inf, 1.0)):
                    session.metrics({"search/best_fitness": value, "search/feasible": 0.5}, step)
                session.metrics({}, 4)
        self.assert_shown(component, run, {"search/feasible": [0.5] * 4})
        shown = self.read(component, run).get(self.shown("search/best_fitness"), ())
        assert (3, 1.0) in shown, f"the last value of search/best_fitness, 1.0, is not shown: {shown}"

    def test_files_are_taken_and_left_as_they_are(self, component: Tracker, run: TrackedRun) -> None:
        """Text and bytes, in the run directory and below it, and another content later."""
        for content in ("{}\n", "損失: `λ`\n", ""):
            with opened(component, run) as session:
                for name in ("spec.yaml", "artifact/loss.json", "artifact/loss.py", "artifact/loss.bin", "report.html"):
                    path = run.path / name
                    path.parent.mkdir(exist_ok=True)
                    told = bytes(range(256)) + content.encode() if name.endswith("bin") else content.encode()
                    path.write_bytes(told)
                    session.file(path)
                    assert path.read_bytes() == told, f"file() changed {name}"

    def test_nothing_is_written_elsewhere(
        self,
        component: Tracker,
        run: TrackedRun,
        tmp_path: Path,
        places: tuple[Path, ...],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """But in the run directory, and where the options say; not in the user's folder, and nothing is left over."""
        for variable in ("HOME", "TMPDIR"):
            (tmp_path / variable).mkdir()
            monkeypatch.setenv(variable, str(tmp_path / variable))
        monkeypatch.setattr(tempfile, "tempdir", None)
        (run.path / "spec.yaml").write_text("name: kit\n")
        with opened(component, run) as session:
            tell(session, {"search/best_fitness": [1.0]})
            session.file(run.path / "spec.yaml")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        astray = [path for path in files if not any(path.is_relative_to(place) for place in (run.path, *places))]
        assert not astray, f"written elsewhere: {', '.join(map(str, astray))}"
        assert (run.path / "spec.yaml").read_text() == "name: kit\n", "a file of the run was changed"

    def test_the_process_is_left_as_it_is(
        self, component: Tracker, run: TrackedRun, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Global random states, the current folder, standard output, and what the tracker is given."""
        settings, values, here = dict(run.settings), {"search/best_fitness": 1.0}, Path.cwd()
        capfd.readouterr()
        with (
            global_state_untouched("a tracker"),
            opened(component, dataclasses.replace(run, settings=settings)) as session,
        ):
            session.metrics(values, 0)
        out = capfd.readouterr().out
        assert not out, f"printed to standard output, which is for results: {out}"
        assert Path.cwd() == here, f"the current folder is {Path.cwd()}, it was {here}"
        assert settings == run.settings, "the settings were changed"
        assert values == {"search/best_fitness": 1.0}, "metrics() changed the values"

    def test_the_library_is_imported_when_it_is_needed(self, component: Tracker) -> None:
        """Its absence is no obstacle to listing components, nor to reading a spec."""
        if self.library is None:
            pytest.skip("the kit's attribute `library` names none")
        require_registered(component)
        found = digests_in_a_fresh_process(imported, component, library=self.library)
        assert found == digests({"imported": False}), f"{self.library} is imported with the class; import it in open()"

    def test_a_missing_library_is_told_with_the_remedy(
        self, component: Tracker, run: TrackedRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By an error of lossforge's that has the command which installs it."""
        if self.library is None:
            pytest.skip("the kit's attribute `library` names none")
        monkeypatch.setitem(sys.modules, self.library, None)
        with pytest.raises((LossforgeError, ImportError), match="pip install"):
            component.open(run)

    def assert_shown(self, component: Tracker, run: TrackedRun, told: Mapping[str, Sequence[float]]) -> None:
        """Fail unless all that was told, by step from 0, is shown, each step once."""
        shown = self.read(component, run)
        for name, values in told.items():
            series = sorted(shown.get(self.shown(name), ()))
            steps = [step for step, _ in series]
            assert steps == list(range(len(values))), f"{name}: steps {steps} are shown of {len(values)} told"
            found = [value for _, value in series]
            assert found == pytest.approx(list(values), rel=1e-6), f"{name}: {found} is shown, {values} was told"


def begun(path: Path) -> TrackedRun:
    """Return a run whose directory is made."""
    settings: Mapping[str, Setting] = MappingProxyType({"name": "kit", "search.strategy.sigma": 0.1})
    run = TrackedRun("kit", path, settings, resumed=False)
    run.memory.mkdir(parents=True)
    return run


@contextlib.contextmanager
def opened(tracker: Tracker, run: TrackedRun) -> Iterator[TrackerSession]:
    """Open a session, and close it as that of a finished run."""
    session = tracker.open(run)
    assert isinstance(session, TrackerSession), f"open() returned a {type(session).__name__}, not a TrackerSession"
    yield session
    session.close(finished=True)


def tell(session: TrackerSession, told: Mapping[str, Sequence[float]], steps: Sequence[int] | None = None) -> None:
    """Tell metrics at steps that are counted from 0; all of them, or some in this order."""
    for step in range(max(map(len, told.values()))) if steps is None else steps:
        session.metrics({name: values[step] for name, values in told.items() if step < len(values)}, step)


def begin_and_die(tracker: Tracker, path: str) -> Mapping[str, object]:
    """Tell of the first steps; the process that is asked for this ends without closing anything."""
    tell(tracker.open(TrackedRun("kit", Path(path), {"name": "kit"}, resumed=False)), TOLD, steps=range(2))
    return {}


def imported(tracker: Tracker, library: str) -> Mapping[str, object]:
    """Return whether a library has been imported, once a tracker has been."""
    return {"imported": library in sys.modules}
