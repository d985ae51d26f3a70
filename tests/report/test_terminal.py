import io

import pytest
from rich.console import Console

from lossforge.report.terminal import comparison_table, held_out_table, trade_offs_table, weight_profile_table


def lines_of(table, width=80):
    file = io.StringIO()
    Console(file=file, width=width, no_color=True).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.fixture
def content(comparison):
    return comparison(tiny=[0.978, 0.983, 0.973], cross_entropy=[0.975, 0.971, 0.979], mae=[0.5, None, 0.65]) | {
        "found": "tiny"
    }


def test_comparison_rows(content):
    lines = lines_of(comparison_table(content))
    (found,) = (line for line in lines if line.startswith("tiny"))
    assert found.split() == ["tiny", "97.8", "±", "0.5", "3", "+0.3", "[-0.7,", "+1.3]", "0.088", "2.0"]
    (reference,) = (line for line in lines if line.startswith("cross_entropy"))
    assert reference.split() == ["cross_entropy", "97.5", "±", "0.4", "3", "reference", "0.100", "2.0"]
    (diverged,) = (line for line in lines if line.startswith("mae"))
    assert "2 of 3" in diverged
    assert any("1 of 3 trainings with mae diverged" in line for line in lines)
    assert any("95% interval" in line for line in lines)


def test_comparison_of_trainings_that_all_diverged(comparison):
    lines = lines_of(comparison_table(comparison(tiny=[None, None], cross_entropy=[0.9, 0.91])))
    (found,) = (line for line in lines if line.startswith("tiny"))
    assert found.split() == ["tiny", "n/a", "0", "of", "2", "n/a", "n/a", "n/a"]


def test_long_names_fold_and_keep_the_numbers(comparison):
    name = "label_smoothing(smoothing=0.1)[bold]"
    table = comparison_table(comparison(**{name: [0.97, 0.99, 0.95]}, cross_entropy=[0.9, 0.92, 0.99]))
    lines = lines_of(table)
    assert all(len(line) <= 80 for line in lines)
    assert "".join(line[:20].split()[0] for line in lines if line[:3] in ("lab", "oth", "[bo")).startswith("label_")
    assert any("97.0 ± 2.0" in line for line in lines)
    assert "[bold]" in "".join(lines)


def test_weight_profile_rows():
    profile = {"p": [0.0001, 0.99], "rivals_uniform": [1.5, -0.25], "rival_dominant": [None, 2.0]}
    rows = [line.split() for line in lines_of(weight_profile_table(profile))[-2:]]
    assert rows == [["0.0001", "1.50", "n/a", "1"], ["0.99", "-0.25", "2.00", "1"]]
    assert not any("class 0" in line for line in lines_of(weight_profile_table(profile)))
    of_one_class = lines_of(weight_profile_table({**profile, "label": 0}))
    assert any("Weight w(p) of a sample of class 0" in line for line in of_one_class)


def test_a_narrow_terminal_keeps_the_first_column(content):
    profile = {"p": [0.0001, 0.99], "rivals_uniform": [1.5, -0.25], "rival_dominant": [None, 2.0]}
    rows = [line.split() for line in lines_of(weight_profile_table(profile), 40)[-2:]]
    assert rows == [["0.0001", "1.50", "n/a", "1"], ["0.99", "-0.25", "2.00", "1"]]
    assert any(line.startswith("tiny") for line in lines_of(comparison_table(content), 40))


def test_held_out_rows():
    found = {
        "fitness": 0.002,
        "metrics": {
            "ranking_accuracy.confident_wrong": 0.97,
            "ranking_accuracy.same_prediction": 1.0,
            "ranking_accuracy": 0.998,
            "other": 0.125,
        },
    }
    reference = {"loss": "gce(q=0.5)", "fitness": None, "metrics": {"ranking_accuracy": 0.5, "unknown": 1.0}}
    rows = [line.split("  ") for line in lines_of(held_out_table(found, [reference])) if line]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows[1:]] == [
        ["lower fitness is better", "found loss", "gce(q=0.5)"],
        [rows[2][0]],
        ["fitness", "0.002", "n/a"],
        ["other", "0.125", "n/a"],
        ["ranking, all pairs", "99.80%", "50.00%"],
        ["ranking, one prediction, two labels", "100.00%", "n/a"],
        ["ranking, confident wrong", "97.00%", "n/a"],
    ]


def test_names_with_brackets_are_shown_as_they_are():
    console = Console(file=io.StringIO(), width=100)
    console.print(trade_offs_table([{"objectives": {"[bold]error": 0.25, "noise[/bold]": None}}]))
    console.print(
        held_out_table({"fitness": 0.5, "metrics": {}}, [{"loss": "[red]mine", "fitness": 0.25, "metrics": {}}])
    )
    text = console.file.getvalue()
    assert all(name in text for name in ("[bold]error", "noise[/bold]", "[red]mine"))


def test_metrics_after_temperature_scaling_have_a_column_where_there_are_any(comparison):
    plain = comparison(tiny=[0.97, 0.99], cross_entropy=[0.9, 0.92])
    assert not any("scaled" in line for line in lines_of(comparison_table(plain)))
    for index, loss in enumerate(plain["losses"]):
        for metric, value in (("scaled_nll", 0.25), ("scaled_ece", 0.013 + index / 100)):
            sample = {"mean": value, "sd": 0.0, "num": 2}
            loss["metrics"][metric] = {"sample": sample, "difference": None}
    lines = lines_of(comparison_table(plain))
    assert any("scaled NLL," in line for line in lines)
    rows = {line.split()[0]: line for line in lines if line.startswith(("tiny", "cross_entropy"))}
    assert rows["tiny"].endswith("0.250, 1.3")
    assert rows["cross_entropy"].endswith("0.250, 2.3")
    assert any("a temperature that was fitted" in line for line in lines)


def test_one_loss_alone_has_no_difference_explained(comparison):
    lines = lines_of(comparison_table(comparison(cross_entropy=[0.9, 0.92])))
    assert not any(line.startswith("Difference") for line in lines)
