"""What a report shows of explanations and gaps that lie beside it."""

from __future__ import annotations

import json

import pytest

from lossforge.errors import RunDirectoryError
from lossforge.report.further import further_sections


def estimate(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def apart(num):
    marginals = ("p_y", "entropy", "margin")
    return {
        "num": num,
        "auc": estimate(0.9),
        "energy": 0.25,
        "coverage": 0.5,
        "recall": 0.75,
        "wasserstein": {name: estimate(0.3) for name in marginals},
        "real": {name: {"largest": 1.0, "counts": [3, 1]} for name in marginals},
        "synthetic": {name: {"largest": 1.0, "counts": [0, 4]} for name in marginals},
    }


def write(path, content):
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def test_a_folder_without_them_has_none(tmp_path):
    assert further_sections(tmp_path, ["tiny"]) == ()


def test_a_gap_is_charted_and_its_figures_told(tmp_path):
    fit = {"weights": {"confident_right": 0.2}, "proposed": {"confident_right": 0.6}, "judged_on": "other trainings"}
    fit |= {"before": apart(10), "after": apart(10)}
    write(tmp_path / "gaps" / "tiny" / "gap.json", {"groups": {"all": apart(20)}, "itself": apart(20), "fit": fit})
    (section,) = further_sections(tmp_path, ["tiny"])
    (gap,) = section.content
    assert (section.id, gap.name) == ("gap", "tiny")
    assert [chart.title for chart in gap.charts] == [
        "Probability of the label",
        "Entropy",
        "Largest probability less the second",
    ]
    real, synthetic = gap.charts[0].legend
    assert (real.x, real.y, synthetic.y) == ([0.25, 0.75], [0.75, 0.25], [0.0, 1.0])
    assert gap.rows[0] == ("all", "20", "0.900", "[0.800, 1.000]", "0.250", "50.0", "75.0", "0.300")
    assert [row[0] for row in gap.rows[1:]] == [
        "sampler against itself",
        "other trainings: weights as they are",
        "other trainings: weights proposed",
    ]
    assert gap.weights == (("confident right", "0.200", "0.600"),)


def test_an_explanation_has_its_answers_in_order_and_its_pictures_within_the_page(tmp_path):
    answers = {"calibrated": "yes", "weight": "w(p) = 1"}
    write(tmp_path / "explanations" / "tiny" / "explanation.json", {"answers": answers, "assumptions": ["A.", "B."]})
    (tmp_path / "explanations" / "tiny" / "field.svg").write_text("<svg/>")
    (section,) = further_sections(tmp_path, ["tiny"])
    (explained,) = section.content
    assert explained.answers == (("weight", "w(p) = 1"), ("calibrated", "yes"))
    assert explained.figures == (("Pull on the logits, by the prediction", "data:image/svg+xml;base64,PHN2Zy8+"),)
    assert explained.assumptions == "A. B."


def test_what_is_left_of_other_losses_is_not_shown(tmp_path):
    """Of an earlier command in the same folder."""
    write(tmp_path / "gaps" / "earlier" / "gap.json", {"groups": {"all": apart(20)}, "itself": apart(20)})
    write(tmp_path / "explanations" / "earlier" / "explanation.json", {"answers": {"calibrated": "yes"}})
    assert further_sections(tmp_path, ["tiny"]) == ()
    assert [section.id for section in further_sections(tmp_path, ["tiny", "earlier"])] == ["explained", "gap"]


def test_what_only_an_earlier_command_asked_for_is_not_shown(tmp_path):
    write(tmp_path / "gaps" / "tiny" / "gap.json", {"groups": {"all": apart(20)}, "itself": apart(20)})
    write(tmp_path / "explanations" / "tiny" / "explanation.json", {"answers": {"calibrated": "yes"}})
    assert [section.id for section in further_sections(tmp_path, ["tiny"], ["gap"])] == ["gap"]


def test_objectives_stand_in_the_order_of_their_correlation_with_accuracy(tmp_path):
    def row(objective, group, rho, measure="fitness"):
        spearman = None if rho is None else {"rho": rho, "low": rho - 0.2, "high": rho + 0.1}
        return {"objective": objective, "measure": measure, "group": group, "spearman": spearman, "num": 9}

    rows = [row("none", "all", None), row("weak", "all", 0.1), row("good", "all", 0.8), row("good", "working", -0.4)]
    content = {"spec": {"description": "noise-40", "confidence": 0.9, "working_share": 0.8}}
    content |= {"correlations": [*rows, row("gates", "all", 0.9, "signs")]}
    write(tmp_path / "correlation" / "correlate.json", content)
    (section,) = further_sections(tmp_path, ["tiny"])
    shown = section.content
    assert (shown.condition, shown.level, shown.working, shown.shows) == ("noise-40", "90%", "80%", True)
    assert shown.rows == (
        ("good", "+0.80", "[+0.60, +0.90]", "9", "-0.40", "[-0.60, -0.30]", "9"),
        ("weak", "+0.10", "[-0.10, +0.20]", "9", "n/a", "", ""),
        ("none", "n/a", "", "9", "n/a", "", ""),
    )


@pytest.mark.parametrize(
    "place", ["gaps/tiny/gap.json", "explanations/tiny/explanation.json", "correlation/correlate.json"]
)
def test_a_damaged_file_is_told(tmp_path, place):
    write(tmp_path / place, {"groups": 3, "correlations": 3})
    with pytest.raises(RunDirectoryError, match=place):
        further_sections(tmp_path, ["tiny"])
