"""A component that breaks a contract fails the check of that contract, with a message that says which, and no other."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lossforge import registry

FLAWED = Path(__file__).with_name("flawed")

DECIDES = "test_the_generator_alone_decides"
FRESH = "test_a_fresh_process_comes_to_the_same_bytes"
OTHERS = "test_batches_may_be_others"
GOES_ON = "test_a_fresh_process_goes_on_bit_for_bit"
INFERENCE = "test_training_works_after_inference"
RESTORED = "test_a_restored_state_goes_on_bit_for_bit"
REGISTRY = "test_the_registry_finds_it_by_its_type"
LITERAL = "test_its_type_is_one_literal"
DOCSTRINGS = "test_class_and_module_have_docstrings"
KEYS = "test_its_keys_are_its_own_and_others_are_passed_on"
GIVEN = "test_what_it_is_given_is_left_alone"
MUTABLE = "test_nothing_mutable_is_shared"

# What fails, and what the first of it says.
EXPECTED: dict[str, tuple[set[str], str]] = {
    "OtherName": ({REGISTRY}, "is called 'other_name', its type is 'another_name'"),
    "OldInterface": ({REGISTRY}, "was written for plugin API 0, this lossforge has 1"),
    "NotInstalled": ({REGISTRY}, r'add \'not_installed = "flawed_mutations:NotInstalled"\' to \[project.entry-points'),
    "AnyType": ({LITERAL}, r'AnyType.type takes other values, too: declare type: Literal\["any_type"\] = "any_type"'),
    "TwoTypes": ({LITERAL}, r'declare type: Literal\["two_types"\] = "two_types"'),
    "NoDocstring": ({DOCSTRINGS}, "class NoDocstring has no docstring"),
    "NoSentence": ({DOCSTRINGS}, "does not begin with a line that is a whole sentence: 'Steps of some kind that'"),
    "MutableDefault": ({MUTABLE, REGISTRY}, "the default of 'edges' is a list"),
    "SharedHistory": ({MUTABLE}, "SharedHistory.history is a list that all instances share"),
    "Undescribed": ({"test_options_are_described"}, "options without a description: two_words"),
    "Thawed": ({"test_it_is_frozen"}, "Thawed is not frozen"),
    "Permissive": ({"test_unknown_options_are_refused"}, "Permissive accepts unknown options"),
    "Rounded": ({"test_options_survive_json"}, r"scale=0.123\) became Rounded\(type='rounded', scale=0.1\)"),
    "OverridesLabel": (
        {"test_no_concrete_method_of_the_interface_is_overridden"},
        "OverridesLabel.label overrides Component.label, which is final",
    ),
    "MovesTorch": ({DECIDES}, r"init\(\) or mutate\(\) used the global random state of torch"),
    "MovesPython": ({DECIDES}, r"init\(\) or mutate\(\) used the global random state of random"),
    "Single": (
        {
            "test_children_have_shape_type_and_device_of_their_parents",
            "test_sigma_may_be_a_number_for_each_parent",
        },
        r"mutate\(\) changed the dtype: parents torch.float64, children torch.float32",
    ),
    "Forgetful": ({KEYS}, r"mutate\(\) lost strategy.generation, strategy.parents: return \{\*\*state"),
    "ForeignKeys": ({KEYS}, r"keys of init\(\) must start with 'mutation.', got orbit"),
    "InPlace": ({GIVEN}, r"mutate\(\) changed the parents in place"),
    "Biased": ({"test_steps_have_mean_0_and_standard_deviation_sigma"}, "steps of sigma 1 have the mean"),
    "ByHash": ({FRESH, GOES_ON}, "differ in a fresh process with another PYTHONHASHSEED"),
    "Remembering": ({GOES_ON}, "the state was sent there: whatever the next step needs belongs into the state"),
    "WideByHash": ({FRESH}, "children of 337 dimensions differ in a fresh process"),
    "Infinite": ({RESTORED, GOES_ON}, r"state\['mutation.best'\] is inf; JSON has no such number"),
    "Unnormalised": ({"test_rows_are_distributions"}, r"sums to 1 within 1.0e-04 only"),
    "DoubleRows": (
        {"test_shapes_types_and_device"},
        r"log_probs_BC is \(\(\d+, \d+\), torch.float64, 'cpu'\)",
    ),
    "FromOne": ({"test_labels_are_classes"}, r"labels are in \[1, 2\], classes in \[0, 2\)"),
    "Nameless": ({"test_regimes_have_names"}, r"regime_B is in \[1, 1\], there are 1 regime_names"),
    "Earlier": ({"test_it_takes_how_far_the_search_is"}, "the default of progress must be 1.0"),
    "Shared": ({"test_a_batch_is_the_callers", FRESH}, "log_probs_BC of a batch shares memory with the sampler"),
    "SharedLabels": ({"test_a_batch_is_the_callers", FRESH}, "labels_B of a batch shares memory with the sampler"),
    "ByPlace": (
        {
            "test_permuting_the_population_permutes_the_fitness",
            "test_draws_do_not_depend_on_how_many_there_are",
        },
        "'fitness_P' of a candidate depends on its place in the population",
    ),
    "OneMetric": ({"test_a_number_for_each_candidate"}, r"'all' has the shape \(6, 1\), not one number a candidate"),
    "Lenient": ({"test_what_is_not_finite_ranks_last", OTHERS}, "fitness is finite for .*; losses are for"),
    "BySize": ({"test_draws_do_not_depend_on_how_many_there_are"}, "draws are common to all and do not depend on P"),
    "TenClasses": ({OTHERS}, r"fitness is \[nan.*\] on 64 pairs of 3 classes in 1 regime"),
    "Sorting": ({GIVEN}, r"evaluate\(\) changed the batch's labels_B in place"),
    "Sound": (set(), ""),
    "Amnesiac": ({GOES_ON}, "the state was sent there: whatever the next step needs belongs into the state"),
    "Unbounded": ({RESTORED}, r"state\['strategy.best'\] is inf"),
    "Weighing": ({"test_only_the_order_of_fitness_counts"}, "in place of the fitness f, it asked for other solutions"),
    "Dropping": ({KEYS}, "lost search.generation"),
    "Stunted": ({"test_it_grows"}, r"grown\(1.35\) of a population of 12 has 12"),
    "Elsewhere": ({"test_generation_0_is_the_prior"}, "generation 0 is not the prior's"),
    "Logarithm": (
        {"test_values_and_gradients_are_finite_at_extreme_logits"},
        r"the value is not finite for logits \[-10000.0, .*: use log_softmax",
    ),
    "Detached": ({"test_gradcheck"}, "Jacobian mismatch"),
    "Reduced": ({"test_samples_are_independent"}, "depends on the others of its batch"),
    "OtherClasses": ({"test_all_classes_at_once_are_each_in_turn"}, r"per_class\(\) and per_sample\(\) disagree"),
    "FirstClass": ({"test_classes_are_treated_alike"}, "the loss depends on the order of classes"),
    "Cached": ({INFERENCE}, "Inference tensors cannot be saved for backward"),
    "CachedWeights": ({INFERENCE}, "Inference tensors cannot be saved for backward"),
    "FiveClassSource": ({"test_its_source_is_the_same_loss"}, r"values of source\(\) are not those of loss\(\)"),
    "ClampedSource": ({"test_its_source_is_the_same_loss"}, r"values of source\(\) are not those of loss\(\)"),
    "OtherSource": ({"test_its_source_is_the_same_loss"}, r"values of source\(\) are not those of loss\(\)"),
    "NeedsNumPy": ({"test_its_source_needs_torch_alone"}, r"source\(\) imports \['numpy'\]"),
    "Autocast": ({"test_it_is_computed_in_float32_under_autocast"}, "autocast on: the loss is not that in float32"),
    "Ordered": (
        {"test_classes_are_alike_and_of_any_number_unless_it_says_otherwise", "test_its_source_is_the_same_loss"},
        "class_count is None, yet the loss depends on the order of classes",
    ),
    "DoublePrior": ({"test_the_prior_draws_solutions"}, r"init\(7, generator\) returned \(\(7, \d+\), torch.float64"),
    "FloatImages": (
        {"test_it_has_images_of_one_shape_to_train_and_test_with"},
        "images of the training part are torch.float32",
    ),
    "MissingClass": (
        {"test_every_image_has_a_label_that_is_a_class"},
        r"labels of the training part are in \[0, 9\], classes in \[0, 9\)",
    ),
    "SameName": ({"test_classes_have_names"}, "class_names repeat"),
    "Shuffled": ({"test_the_options_alone_decide"}, r"load\(\) used the global random state of numpy.random"),
    "LoadedOnce": ({"test_what_is_loaded_is_the_callers", FRESH}, "loads share memory: images of the training part"),
    "ByProcess": ({FRESH}, "labels of the test part differ in a fresh process"),
    "Stripes": (set(), ""),
    "TinyModel": (set(), ""),
    "Untaught": ({"test_a_gradient_reaches_every_parameter"}, "no gradient reaches unused"),
    "Constant": ({"test_every_weight_is_drawn"}, "1.weight is not drawn from the generator"),
    "GlobalWeights": ({DECIDES}, r"build\(\) used the global random state of torch"),
    "Hidden": ({"test_copies_and_restored_states_say_the_same"}, "a network with the same state_dict has other logits"),
    "Finished": ({"test_images_become_logits"}, r"build\(\) returned a network in evaluation mode"),
    "Lines": (set(), ""),
    "Unmindful": (
        {"test_a_session_that_goes_on_shows_each_step_once"},
        r"steps \[0, 0, 1, 1, 2, 3\] are shown of 4 told",
    ),
    "Early": ({"test_the_library_is_imported_when_it_is_needed"}, "wave is imported with the class"),
    "Terse": ({"test_a_missing_library_is_told_with_the_remedy"}, "import of wave halted; None in sys.modules"),
}


class Outcomes:
    """A pytest plugin that notes which checks of a class fail, and what they say."""

    def __init__(self) -> None:
        self.failed: dict[str, dict[str, str]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Function) -> Iterator[None]:
        report: Any = yield
        failed = self.failed.setdefault(item.cls.__name__.removeprefix("Test"), {})
        if report.failed:
            failed.setdefault(item.originalname, report.longreprtext)
        return report


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Of one run of all kits, with the flawed components installed."""
    site = tmp_path_factory.mktemp("site")
    info = site / "lossforge_flawed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lossforge-flawed\nVersion: 1.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.syspath_prepend(FLAWED)
        patch.setenv(registry.PLUGINS_VARIABLE, "lossforge-flawed")
        (info / "entry_points.txt").write_text(entry_points())
        registry.refresh()
        found = Outcomes()
        pytest.main(["-q", "-p", "no:cacheprovider", "--tb=short", str(FLAWED / "kits.py")], plugins=[found])
        yield found
    for kind in registry.KINDS:
        sys.modules.pop(f"flawed_{kind}", None)
    registry.refresh()


def entry_points() -> str:
    lines = []
    for kind in registry.KINDS:
        lines.append(f"[lossforge.{kind}]")
        module = importlib.import_module(f"flawed_{kind}")
        for name, cls in vars(module).items():
            if name in EXPECTED and name != "NotInstalled":
                point = "other_name" if name == "OtherName" else cls.model_fields["type"].default
                lines.append(f"{point} = flawed_{kind}:{name}")
    return "\n".join(lines)


def test_every_flawed_component_is_in_the_table(outcomes):
    assert outcomes.failed.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_check_of_that_contract_fails_and_no_other(outcomes, name):
    checks, message = EXPECTED[name]
    failed = outcomes.failed[name]
    assert failed.keys() == checks, "\n".join(failed.values())
    assert not checks or any(re.search(message, text) for text in failed.values()), "\n".join(failed.values())
