import pytest

from lossforge.report.numbers import percent
from lossforge.report.verdict import Outcome, judge, verdict, verdict_without_training
from lossforge.run_content import Comparison, FoundLoss

REFERENCE = [0.970, 0.972, 0.971]


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ([0.980, 0.982, 0.981], Outcome.BETTER),
        ([0.960, 0.962, 0.961], Outcome.WORSE),
        ([0.970, 0.973, 0.971], Outcome.NO_DIFFERENCE),
        ([0.980, None, None], Outcome.NO_VERDICT),
        ([None, None, None], Outcome.NO_VERDICT),
    ],
)
def test_a_difference_is_claimed_only_where_the_interval_excludes_zero(comparison, found, outcome):
    content = comparison(tiny=found, cross_entropy=REFERENCE)
    losses = Comparison.model_validate(content).by_name
    assert judge(losses["tiny"], losses["cross_entropy"]) is outcome
    assert outcome.value in verdict(content, "tiny")


def test_the_sentence_names_setting_values_and_interval(comparison):
    content = comparison(tiny=[0.978, 0.983, 0.973], cross_entropy=[0.975, 0.971, 0.979])
    content |= {"found": "tiny", "dataset": "digits", "model": "resnet8"}
    assert verdict(content) == (
        "On digits, resnet8, 3 seeds: the found loss reaches 97.8% against 97.5% for cross_entropy, difference +0.3 "
        "points [-0.7, +1.3]: no difference shown."
    )


def test_an_interval_of_no_width_gives_no_verdict(comparison):
    content = comparison(tiny=[0.98, 0.98], cross_entropy=[0.97, 0.97])
    sentence = verdict(content, "tiny")
    assert "+1.00 points: no verdict, for no accuracy varies" in sentence
    assert "[" not in sentence


def test_diverged_trainings_are_never_passed_over(comparison):
    better = verdict(comparison(tiny=[0.98, 0.982, None], cross_entropy=REFERENCE), "tiny")
    assert "no verdict, for 1 of 3 with the found loss diverged, which" in better
    spared = verdict(comparison(tiny=[0.9, 0.902, 0.901], cross_entropy=[0.97, 0.971, None]), "tiny")
    assert "no verdict, for 1 of 3 with cross_entropy diverged, which" in spared
    worse = verdict(comparison(tiny=[0.9, 0.902, None], cross_entropy=REFERENCE), "tiny")
    assert "worse, among the trainings that finished; 1 of 3 with the found loss diverged" in worse
    reference = verdict(comparison(tiny=REFERENCE, cross_entropy=[None, 0.97, 0.971]), "tiny")
    assert "1 of 3 with cross_entropy diverged" in reference
    assert "all trainings with the found loss diverged" in verdict(
        comparison(tiny=[None, None], cross_entropy=REFERENCE), "tiny"
    )
    assert "all trainings with cross_entropy diverged" in verdict(
        comparison(tiny=REFERENCE, cross_entropy=[None, None]), "tiny"
    )


def test_without_a_known_found_loss_each_loss_gets_a_line(comparison):
    lines = verdict(comparison(mae=[0.5, 0.6, 0.55], focal=REFERENCE, cross_entropy=REFERENCE)).splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == ["mae", "focal"]


def test_the_reference_alone_gives_nothing_to_compare(comparison):
    assert "nothing to compare" in verdict(comparison(cross_entropy=REFERENCE))


SEARCHED = {
    "name": "tiny",
    "seed": 0,
    "generations": 1,
    "evaluations": 8,
    "search": {},
    "weight_profile": {"p": [], "rivals_uniform": [], "rival_dominant": []},
}


def test_without_training_the_ranking_is_all_that_is_known():
    found = {
        **SEARCHED,
        "held_out": {"fitness": 0.25, "metrics": {"ranking_accuracy": 0.9975}},
    }
    sentence = verdict_without_training(FoundLoss.model_validate(found))
    assert "ranks 99.75% of held-out synthetic pairs" in sentence
    assert "no trainings were compared" in sentence
    found["held_out"] = {"fitness": 0.25, "metrics": {}}
    assert "held-out fitness of 0.25;" in verdict_without_training(FoundLoss.model_validate(found))
    found["references"] = [
        {"loss": "cross_entropy", "fitness": 0.54321, "metrics": {}},
        {"loss": "mae", "fitness": None, "metrics": {}},
    ]
    sentence = verdict_without_training(FoundLoss.model_validate(found))
    assert "held-out fitness of 0.25 (lower is better; on the same batch cross_entropy 0.5432);" in sentence


def test_a_trade_off_is_judged_by_its_goals():
    found = {
        **SEARCHED,
        "held_out": {
            "fitness": None,
            "fitness_is_relative": True,
            "metrics": {"front": 0.0, "error.fitness": 0.25, "nll.fitness": 1.5},
        },
        "references": [
            {"loss": "cross_entropy", "fitness": None, "metrics": {"error.fitness": 0.5, "nll.fitness": 1.0}}
        ],
    }
    assert verdict_without_training(FoundLoss.model_validate(found)) == (
        "The found loss is one of the trade-offs found: on held-out data error.fitness 0.25, nll.fitness 1.5 (lower is "
        "better; cross_entropy error.fitness 0.5, nll.fitness 1); no trainings were compared, so how well it trains is "
        "not known."
    )
    found["held_out"]["fitness_is_relative"] = False
    of_a_sum = verdict_without_training(FoundLoss.model_validate(found))
    assert of_a_sum.startswith("The found loss has a held-out fitness of n/a;")


@pytest.mark.parametrize(
    ("fraction", "text"), [(1.0, "100.0%"), (0.9999, ">99.9%"), (0.5, "50.0%"), (0.0, "0.0%"), (None, "n/a")]
)
def test_only_one_is_a_hundred_percent(fraction, text):
    assert percent(fraction, 1) == text
