"""Every component of a search on a GPU; on the CPU the same is done by tests/end_to_end."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "end_to_end" / "test_any_composition.py"
spec = importlib.util.spec_from_file_location("compositions", SCRIPT)
assert spec is not None
assert spec.loader is not None
compositions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compositions)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize(("kind", "name"), list(compositions.everything()))
def test_each_component_runs_on_cuda(kind, name, tmp_path):
    compositions.check(compositions.plainest_with(kind, name, compositions.recorded(tmp_path)), device="cuda")
