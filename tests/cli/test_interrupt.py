"""Ctrl-C at bad moments: it comes all the same, and breaks nothing."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from lossforge.cli import interrupt
from lossforge.cli.interrupt import interrupted_by, is_interrupt, resumable, resumable_by
from lossforge.errors import PluginLoadError, RunInterrupted

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

MODULE = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
for _ in range({steps}):
    time.sleep(0.01)
COMPLETE = True
"""


@pytest.fixture(autouse=True)
def handler():
    """Where the tests were started with SIGINT ignored, it would stay so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in whose import Ctrl-C comes; it takes so many hundredths of a second afterwards."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(steps: int) -> str:
        (tmp_path / "interrupted_module.py").write_text(MODULE.format(steps=steps))
        return "interrupted_module"

    yield make
    sys.modules.pop("interrupted_module", None)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(action: Callable[[], object]) -> None:
    """Do something, and then nothing for ten seconds, or until Ctrl-C is heard."""
    with interrupted_by(signal.SIGINT):
        action()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.01)


def test_it_is_raised_at_once():
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted(ctrl_c)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_handler_and_hook_are_as_before(kind):
    before = signal.getsignal(kind), sys.unraisablehook
    with interrupted_by(kind):
        assert (signal.getsignal(kind), sys.unraisablehook) != before
    assert (signal.getsignal(kind), sys.unraisablehook) == before


def test_an_import_is_brought_to_its_end_first(module):
    name = module(steps=20)
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: importlib.import_module(name))
    assert sys.modules[name].COMPLETE


def test_an_import_without_end_is_given_up(module, monkeypatch):
    monkeypatch.setattr(interrupt, "PATIENCE_SECONDS", 0.2)
    name = module(steps=1000)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: importlib.import_module(name))
    assert time.monotonic() - began < 8
    assert name not in sys.modules


def test_the_next_import_is_waited_for_anew(module, monkeypatch):
    monkeypatch.setattr(interrupt, "PATIENCE_SECONDS", 0.5)
    for _ in range(2):
        name = module(steps=20)
        sys.modules.pop(name, None)
        with pytest.raises(KeyboardInterrupt):
            interrupted(lambda: importlib.import_module("interrupted_module"))
        assert sys.modules[name].COMPLETE
        time.sleep(0.5)


class Thing:
    pass


def test_one_that_python_drops_comes_again(capfd):
    """Raised in the callback of a weak reference, where nobody can catch it."""
    things, after = [Thing()], []
    reference = weakref.ref(things[0], lambda _: ctrl_c())
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: (things.clear(), after.append(reference())))
    assert after == [None]
    assert "KeyboardInterrupt" not in capfd.readouterr().err


def test_what_else_python_drops_is_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_type))
    thing = Thing()
    reference = weakref.ref(thing, lambda _: 1 / 0)
    with interrupted_by(signal.SIGINT):
        del thing
    assert reference() is None
    assert told == [ZeroDivisionError]


def test_a_signal_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupted_by(signal.SIGINT):
        ctrl_c()
        time.sleep(0.1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_leave_signals_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupted_by(signal.SIGINT):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_an_interrupt_has_caused_is_one():
    error = ValueError()
    error.__cause__ = KeyboardInterrupt()
    assert is_interrupt(error)
    assert not is_interrupt(ValueError())
    assert not is_interrupt(None)


def test_what_a_plugin_raises_by_itself_is_none():
    error = PluginLoadError("x")
    error.__cause__ = KeyboardInterrupt()
    assert not is_interrupt(error)


def test_what_comes_of_itself_is_none():
    error = ValueError()
    error.__cause__ = error
    assert not is_interrupt(error)


def test_an_error_while_an_interrupt_is_handled_is_told():
    error = OSError("disk full")
    error.__context__ = KeyboardInterrupt()
    assert not is_interrupt(error)


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)


def wrapping_an_interrupt() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as cause:
        raise RuntimeError("a library gives up") from cause


def pressed() -> None:
    raise KeyboardInterrupt


def failing() -> None:
    raise ZeroDivisionError


class TestResumable:
    @pytest.mark.parametrize("action", [terminated, wrapping_an_interrupt, pressed])
    def test_an_interrupt_becomes_the_command_that_goes_on(self, action):
        with (
            pytest.raises(RunInterrupted, match=r"go on with: lossforge resume 'my run'"),
            resumable(lambda: ["resume", "my run"]),
        ):
            action()

    def test_without_anything_to_go_on_with_it_stays_what_it_is(self):
        with pytest.raises(KeyboardInterrupt), resumable(lambda: None):
            pressed()

    def test_the_folder_is_named_once_the_command_itself_has_written_into_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["lossforge", "compare", "new.yaml"])
        file = tmp_path / "compare.yaml"

        def written_first() -> None:
            file.write_text("of this one")
            pressed()

        for _ in range(2):
            with pytest.raises(RunInterrupted, match=r"lossforge compare new\.yaml$"), resumable_by(file):
                pressed()
            file.write_text("of an earlier command")
            os.utime(file, (1, 1))
        with pytest.raises(RunInterrupted, match=f"lossforge resume {tmp_path}$"), resumable_by(file):
            written_first()

    def test_an_error_stays_one(self):
        with pytest.raises(ZeroDivisionError), resumable(lambda: ["resume", "it"]):
            failing()
