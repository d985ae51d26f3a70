"""Standard output stays free for results, whatever prints and however."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lossforge.stdio import Progress, Results, stdout_to_stderr

CODE = """
import os, sys
from lossforge.stdio import stdout_to_stderr
print("before")
with stdout_to_stderr() as diverted:
    print("by print")
    sys.__stdout__.write("kept from the start\\n")
    os.write(1, b"by descriptor\\n")
    os.system("echo by a child")
    kept = sys.stdout
print("after", diverted.used)
print("later", file=kept)
with stdout_to_stderr() as diverted:
    pass
print(diverted.used)
"""


def test_all_that_is_written_meanwhile_goes_to_standard_error():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "before\nafter True\nFalse\n"
    assert sorted(done.stderr.splitlines()) == sorted(
        ["by print", "kept from the start", "by descriptor", "by a child", "later"]
    )


def test_an_error_leaves_both_as_they_were(capfd):
    before = sys.stdout
    with pytest.raises(ZeroDivisionError), stdout_to_stderr():
        raise ZeroDivisionError
    assert sys.stdout is before
    os.write(1, b"out\n")
    assert capfd.readouterr().out == "out\n"


@pytest.mark.parametrize("closed", ["1", "2", "1, 2"])
def test_closed_descriptors_are_no_obstacle(closed):
    code = f"import os; [os.close(each) for each in ({closed},)]\n" + (
        "from lossforge.stdio import stdout_to_stderr\nwith stdout_to_stderr(): pass\nos._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 7


def test_it_has_the_attributes_of_a_stream(capsys):
    with stdout_to_stderr() as diverted:
        assert diverted.encoding == sys.stderr.encoding
        assert not diverted.isatty()
        diverted.flush()
        diverted.close()
        assert not sys.stderr.closed
    assert not diverted.used


@pytest.mark.parametrize("stand_in", [Results, Progress])
def test_who_prints_cannot_close_it(stand_in, tmp_path):
    with (tmp_path / "out").open("w") as stream:
        stand_in(stream).close()
        assert not stream.closed
