"""Installs the toy components, and a broken one, for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lossforge import registry

POINTS = """
[lossforge.parameterizations]
toy_family = lossforge_spec_toys:Family
[lossforge.samplers]
toy_sampler = lossforge_spec_toys:Sampler
[lossforge.objectives]
toy_goal = lossforge_spec_toys:Goal
[lossforge.strategies]
toy_evolving = lossforge_spec_toys:Evolving
toy_drawing = lossforge_spec_toys:Drawing
[lossforge.mutations]
toy_step = lossforge_spec_toys:Step
toy_broken = lossforge_spec_toys_that_nobody_has:Step
[lossforge.losses]
toy_entropy = lossforge_spec_toys:Entropy
toy_focal = lossforge_spec_toys:Focal
[lossforge.datasets]
toy_images = lossforge_spec_toys:Images
[lossforge.models]
toy_net = lossforge_spec_toys:Net
"""

SPEC = """\
name: toy
search:
  parameterization: toy_family
  sampler: toy_sampler
  objective: {type: toy_goal, span: [0, 2]}
  strategy: toy_evolving
  mutation:
    type: toy_step
    sigma: 1e-2
training:
  dataset: {type: toy_images, folder: /data}
  model: toy_net
evidence:
  baselines: [toy_entropy, {type: toy_focal, gamma: 3}]
"""


@pytest.fixture
def spec_text() -> str:
    return SPEC


@pytest.fixture(autouse=True, scope="module")
def _toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    info = site / "lossforge_spec_toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lossforge-spec-toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(registry.PLUGINS_VARIABLE, "lossforge-spec-toys")
        monkeypatch.syspath_prepend(site)
        monkeypatch.syspath_prepend(Path(__file__).parent / "toys")
        registry.refresh()
        yield
    sys.modules.pop("lossforge_spec_toys", None)
    registry.refresh()
