"""Ablations as files: names are the user's, curves stand where they were taken, and nothing infinite is drawn."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from lossforge.evidence.ablation_analysis import Ablation, Arm, analyse
from lossforge.evidence.ablation_run import Curve
from lossforge.evidence.step_variance import StepSize
from lossforge.report import ablation as module
from lossforge.report import write_ablation
from lossforge.spec import AblationSpec

SETTING, VARIANT, OTHER = r"a|b [bold]$\frac$", "_first $x^ <i>", "second\n*line*"


def curve(*fitness: float | None, found: float | None = 0.0) -> Curve:
    return Curve(tuple(range(len(fitness))), tuple(10 * (k + 1) for k in range(len(fitness))), fitness, found)


def ablation(first: list[Curve], second: list[Curve], settings: tuple[str, ...] = (SETTING,)) -> Ablation:
    spec = AblationSpec(
        name="names",
        base="edl",
        description="a | b\n# c",
        settings={name: {} for name in settings},
        variants={VARIANT: {}, OTHER: {}},
        seeds=len(first),
    )
    arms = [
        Arm(setting, variant, (), StepSize(0.0, 1.0 + index), tuple(curves))
        for index, setting in enumerate(settings)
        for variant, curves in ((VARIANT, first), (OTHER, second))
    ]
    return analyse(spec, arms)


def test_names_with_any_signs_are_shown_as_they_are(tmp_path):
    write_ablation(ablation([curve(2.0, 1.0)] * 2, [curve(2.0, 0.5)] * 2), tmp_path)
    text = (tmp_path / "ablation.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in rows} == {5, 8}
    assert r"a\|b \[bold\]\$\\frac\$" in text
    assert r"second \*line\*" in text
    assert r"a \| b # c" in text
    drawing = (tmp_path / "curves.svg").read_text()
    ElementTree.fromstring(drawing)
    assert r"[bold]$\frac$ -->" in drawing
    assert "_first $x^" in drawing, "the legend holds names that begin with an underscore"
    json.loads((tmp_path / "ablation.json").read_text(), parse_constant=pytest.fail)


def test_what_was_never_reached_is_drawn_and_written(tmp_path):
    write_ablation(ablation([curve(2.0, None, found=None)] * 3, [curve(None, None, found=None)] * 3), tmp_path)
    text = (tmp_path / "ablation.md").read_text()
    assert "| never | reference |" in text
    ElementTree.fromstring((tmp_path / "curves.svg").read_text())
    content = json.loads((tmp_path / "ablation.json").read_text(), parse_constant=pytest.fail)
    assert content["targets"] == {SETTING: None}
    medians = {row["measure"]: row["median"] for row in content["rows"] if row["variant"] == OTHER}
    assert medians == {"area": 2.0, "end": None, "evaluations": None}


def test_a_curve_at_other_evaluations_is_what_it_had_come_to():
    short = Curve((0, 5), (10, 60), (3.0, None), 0.0)
    np.testing.assert_array_equal(
        module._heights(short, np.array([10.0, 20.0, 60.0, 90.0])), [3.0, 3.0, np.inf, np.inf]
    )


def test_steps_are_those_of_each_setting():
    found = ablation([curve(2.0, 1.0)] * 2, [curve(2.0, 0.5)] * 2, settings=("one", "two"))
    text = module.markdown(found)
    assert r"| one | \_first \$x^ \<i\> | 0.0000 | 1.0000 |" in text
    assert r"| two | \_first \$x^ \<i\> | 0.0000 | 2.0000 |" in text
