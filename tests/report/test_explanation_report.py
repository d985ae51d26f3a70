"""An explanation in words, tables and figures."""

import csv
import dataclasses
import io
import json
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

import lossforge
from lossforge.errors import OutputError
from lossforge.evidence.explanation import End
from lossforge.report import write_explanation
from lossforge.report.explanation_answers import answers, assumptions
from lossforge.report.explanation_text import arrow, explanation_text, field_text


@pytest.fixture(scope="module")
def smoothing():
    return lossforge.explain("label_smoothing", num_classes=3)


@pytest.fixture(scope="module")
def mae():
    return lossforge.explain("mae", num_classes=3)


def test_answers_of_a_loss_inside_the_simplex(smoothing):
    told = dict(answers(smoothing))
    assert told["weight"] == "w(p) = 1 - 0.06667/(1 - p); of p alone"
    assert told["loss"].endswith("; for uniform rivals, others change it")
    assert re.match(r"w < 0 for p from 0\.9\d* up alone: draws sure predictions back", told["signs"])
    assert told["calibrated"].startswith("no: for q = (0.97, 0.015, 0.015) p* is (0.906, 0.0468, 0.0468)")
    assert told["calibrated"].endswith("; p* = 0.9 q + 0.1 / C")
    assert told["order of classes"] == "kept: p* ranks the classes as q does"
    assert told["minimiser"] == "inside the simplex for all"
    assert "convex in the logits" in told["curvature"]


def test_answers_of_a_loss_whose_minimisers_are_corners(mae):
    told = dict(answers(mae))
    assert told["weight"] == "w(p) = p; of p alone"
    assert told["nearest built-in loss"] == "0.1086 times rce, the same up to an offset"
    assert told["order of classes"].startswith("kept weakly: classes tie; for q = ")
    assert told["most likely class"] == "right: p* has it, too"
    assert "at infinity for 13 of 14; several, as good, for 2" in told["minimiser"]
    assert "not convex" in told["curvature"]


def test_answers_where_there_is_no_minimiser(mae):
    nowhere = tuple(dataclasses.replace(each, end=End.UNBOUNDED) for each in mae.consistency.minimisers)
    unknown = dataclasses.replace(
        mae.consistency, minimisers=nowhere, worst=None, is_calibrated=None, order=None, top=None, mistaken=None
    )
    told = dict(answers(dataclasses.replace(mae, consistency=unknown)))
    assert told["calibrated"] == "there is no minimiser to be calibrated"
    assert told["order of classes"] == "there is no minimiser to keep it"
    assert told["minimiser"].startswith("nowhere, as the risk falls for ever for all")


def test_what_was_assumed_is_told(smoothing):
    assert len(assumptions(smoothing)) == 2
    profile = dataclasses.replace(smoothing.profile, is_shift_invariant=False, is_equivariant=False)
    bounds = dataclasses.replace(smoothing.bounds, num_not_finite=3, has_true_gradient=False, curvature=None)
    odd = dataclasses.replace(smoothing, profile=profile, bounds=bounds, precision="float32", field=None)
    told = " ".join(assumptions(odd))
    for part in (
        "float32",
        "constant is added",
        "treat all classes alike",
        "no others",
        "not the derivative",
        "3 pred",
    ):
        assert part in told
    assert "unknown" in dict(answers(odd))["curvature"]


def test_the_terminal_shows_all_of_it(smoothing):
    console = Console(file=io.StringIO(), width=100)
    for part in explanation_text(smoothing, colors=False):
        console.print(part)
    told = console.file.getvalue()
    for part in ("Weight w(p)", "xx label_smoothing", "Pull on the logits", "Nearest built-in", "two alike, above"):
        assert part in told
    assert max(map(len, told.splitlines())) <= 100
    assert "\x1b" not in told


def test_arrows_point_where_the_logits_go(smoothing):
    # Down the gradient: the label up, and rivals, at the lower corners, down.
    pulls = {(-1, 0.5, 0.5): "\u2191", (1, -0.5, -0.5): "\u2193", (0, 1, -1): "\u2192", (0, -1, 1): "\u2190"}
    assert {gradient: arrow(gradient) for gradient in pulls} == pulls
    assert arrow((0.0, 0.0, 0.0)) == "\u00b7"
    lines = field_text(smoothing.field).splitlines()
    assert [len(line.split()) for line in lines] == [2 * n for n in range(1, 12)]
    assert lines[0].split() == ["\u2191", "\u2191"]


def test_files(mae, smoothing, tmp_path):
    out = tmp_path / "new" / "folder"
    paths = write_explanation(smoothing, out)
    names = {path.name for path in paths}
    assert names == {path.name for path in out.iterdir()}
    content = json.loads((out / "explanation.json").read_text())
    assert content["answers"]["minimiser"] == "inside the simplex for all"
    tables = {name: list(csv.DictReader(io.StringIO((out / name).read_text()))) for name in names if ".csv" in name}
    assert [float(row["weight_rivals_uniform"]) for row in tables["profile.csv"]] == content["profile"]["weight"][0]
    assert float(tables["field.csv"][0]["gradient_2"]) == content["field"]["gradient"][0][2]
    assert len(tables["minimisers.csv"]) == 3 * 14
    assert tables["neighbours.csv"][0]["loss"] == content["neighbours"][0]["label"]
    before = {path.name: path.read_bytes() for path in paths}
    write_explanation(smoothing, out)  # its own files are written anew, to the same bytes
    assert {path.name: path.read_bytes() for path in paths} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(OutputError, match=r"holds no explanation\.json"):
        write_explanation(mae, tmp_path / "other")


def test_figures_stand_alone_in_light_and_dark(smoothing, tmp_path):
    write_explanation(dataclasses.replace(smoothing, name="a<b&c"), tmp_path)
    for path in sorted(tmp_path.glob("*.svg")):
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert {child.tag.rpartition("}")[2] for child in root.iter()} >= {"style", "text", "path", "rect"}
        text = path.read_text()
        used = set(re.findall(r"var\((--[\w-]+)\)", text))
        assert used <= set(re.findall(r"(--[\w-]+):", text))
        assert "prefers-color-scheme: dark" in text
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
        assert not re.search(r"\bnan\b", text)
    field = ElementTree.fromstring((tmp_path / "field.svg").read_text())
    assert len(list(field.iter("{http://www.w3.org/2000/svg}path"))) >= 2 * len(smoothing.field.p)
    assert "a&lt;b&amp;c" in (tmp_path / "weight.svg").read_text()
