"""What ``lossforge`` says of a damaged run, and that it comes to the same once it is mended; see damage.py.

Of damages that lead to the same code one is done, another every day; ``make torture`` does all of them, and those of
worker processes, which tests/search/test_workers.py kills as well.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("damage.py")
GO_ON = "what was saved before is whole: once this is mended, go on with: lossforge resume run"
SAYS = {
    "full_disk_in_search": f": No space left on device; {GO_ON}",
    "full_disk_in_report": f".tmp: No space left on device; {GO_ON}",
    "read_only_disk": f": Read-only file system; {GO_ON}",
    "write_protected_folder": f": Permission denied; {GO_ON}",
    "truncated_tensors": "the checkpoint is damaged (its content does not match its digest); it is now damaged-",
    "truncated_scalars": "the checkpoint is damaged (",
    "flipped_bit": "the checkpoint is damaged (its content does not match its digest); it is now damaged-",
    "missing_file": "the checkpoint is damaged ([Errno 2] No such file or directory: ",
    "both_checkpoints": "no checkpoint can be read: the search begins anew, and comes to the same",
    "jumping_clock": "INFO the search goes on after ",
    "changed_spec": "error:   search.batch_size: 32 -> 48",
    "two_processes": "error: run: another process is at work in this run; wait for it, or stop it first",
}
ALIKE = (
    ("full_disk_in_search", "full_disk_in_report"),
    ("truncated_tensors", "truncated_scalars", "flipped_bit", "missing_file"),
)
TODAY = datetime.date.today().toordinal()
DONE = [name for name in SAYS if all(name not in group or name == group[TODAY % len(group)] for group in ALIKE)]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and commands")


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each damage; two are done at a time, so all are done before the first is looked at."""
    path = tmp_path_factory.mktemp("damage") / "accounts.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--forked", "--json", path, *(f"--only={name}" for name in DONE)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert path.exists(), done.stdout + done.stderr
    return {account["name"]: account for account in json.loads(path.read_text())}


def test_every_damage_of_the_day_is_done(accounts):
    assert [*accounts] == DONE


@pytest.mark.parametrize("name", DONE)
def test_the_user_is_told_and_the_mended_run_comes_to_the_same(name, accounts):
    account = accounts[name]
    if account["skipped"] is not None:
        pytest.skip(account["skipped"])
    seen = "\n".join(account["seen"])
    assert account["flaws"] == [], seen
    assert SAYS[name] in seen
