import contextlib
import importlib
import json
import shutil

import pytest
import torch
from torch import nn

from lossforge.errors import RunDirectoryError
from lossforge.evidence import Choices, TrainingObserver, arms, train_alike, training_seed
from lossforge.evidence.store import ArmStore
from lossforge.evidence.training_pool import TrainingPool
from lossforge.spec.training import FileNoise, TrainingSpec
from lossforge.training import prepare, train_classifier, train_together
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8

TRAINING = TrainingSpec(
    dataset=FakeImages(num_train=32, num_test=20, image_shape=(1, 8, 8), num_classes=4),
    model=ResNet8(),
    num_train=24,
    epochs=1,
    batch_size=8,
)
SETTLED = TRAINING.model_copy(update={"precision": "float32", "replication": "in_turn"})
IDENTITIES = {"found": "margin", "cross_entropy": "ce"}


class NaNLoss(nn.Module):
    def forward(self, logits, target):
        return logits.sum() * torch.nan


def losses():
    return {"found": nn.MultiMarginLoss(), "cross_entropy": nn.CrossEntropyLoss()}


def run(training=TRAINING, given=None, seed=5, **options):
    given = losses() if given is None else given
    options = {"seeds": 2, "confidence": 0.9, "reference": "cross_entropy", **options}
    return train_alike(training, given, seed, "cpu", **options)


def test_trains_all_losses_seed_by_seed(notes):
    comparison = run(observer=notes)
    arms = notes.arms
    order = [(arm.loss, arm.seed_index) for arm in arms]
    assert order == [("found", 0), ("cross_entropy", 0), ("found", 1), ("cross_entropy", 1)]
    assert not any(notes.restored)
    assert [(name, index, record.epoch) for name, index, record in notes.epochs] == [(*arm, 1) for arm in order]
    assert comparison.training_seeds == (training_seed(5, 0), training_seed(5, 1))
    assert [arm.training_seed for arm in arms[::2]] == list(comparison.training_seeds)
    assert comparison.losses["found"].results == (arms[0].result, arms[2].result)
    assert list(comparison.losses) == ["found", "cross_entropy"]


def test_each_arm_is_a_training_of_its_own():
    comparison = run(SETTLED)
    data = prepare(SETTLED, 5, "cpu")
    alone = train_classifier(SETTLED, data, nn.MultiMarginLoss(), training_seed(5, 1))
    assert comparison.losses["found"].results[1] == alone


def test_the_first_loss_is_the_reference_unless_another_is_named():
    comparison = run(reference="cross_entropy")
    assert (comparison.reference, comparison.confidence) == ("cross_entropy", 0.9)
    assert comparison.losses["found"].metrics["accuracy"].difference is not None
    other = run(reference=None)
    assert other.reference == "found"
    assert other.losses["found"].metrics["accuracy"].difference is None


def test_training_seeds_are_distinct_and_fixed():
    seeds = [training_seed(0, index) for index in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert training_seed(0, 7) == seeds[7]
    assert training_seed(1, 7) != seeds[7]


def test_a_comparison_goes_on_where_it_was_interrupted(tmp_path, notes):
    whole = run(SETTLED, folder=tmp_path / "whole", identities=IDENTITIES)

    class Stops(TrainingObserver):
        def trained(self, arm):
            if (arm.loss, arm.seed_index) == ("found", 1):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(SETTLED, folder=tmp_path / "parts", identities=IDENTITIES, observer=Stops())
    resumed = run(SETTLED, folder=tmp_path / "parts", identities=IDENTITIES, observer=notes)
    assert notes.restored == [True, True, True, False]
    assert resumed == whole
    for path in sorted((tmp_path / "whole").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_a_finished_comparison_is_read_without_its_data(tmp_path, monkeypatch):
    whole = run(folder=tmp_path, identities=IDENTITIES)

    def refuse(_self):
        raise AssertionError("loaded")

    monkeypatch.setattr(FakeImages, "load", refuse)
    again = run(folder=tmp_path, identities=IDENTITIES)
    assert again == whole
    logits = [result.test.logits_NC for result in again.losses["found"].results]
    assert all(map(torch.equal, logits, [result.test.logits_NC for result in whole.losses["found"].results]))


def test_more_seeds_add_to_what_is_there(tmp_path, notes):
    run(folder=tmp_path, identities=IDENTITIES)
    times = []
    options = {"folder": tmp_path, "identities": IDENTITIES, "record_time": lambda **entry: times.append(entry)}
    run(seeds=3, **options, observer=notes)
    assert notes.restored == [True] * 4 + [False] * 2
    results = {"found": notes.arms[4].result, "cross_entropy": notes.arms[5].result}
    assert times == [
        {"loss": name, "seed_index": 2, "seconds": each.seconds, "images_per_second": each.images_per_second}
        for name, each in results.items()
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"training": TRAINING.model_copy(update={"learning_rate": 0.2})},
        {"training": TRAINING.model_copy(update={"precision": "bfloat16"})},
        {"training": TRAINING.model_copy(update={"replication": "grouped"})},
        {"seed": 6},
        {"identities": {**IDENTITIES, "found": "another margin"}},
    ],
)
def test_results_of_another_comparison_are_refused(tmp_path, change):
    run(SETTLED, folder=tmp_path, identities=IDENTITIES)
    with pytest.raises(RunDirectoryError, match="written for another training spec, seed or loss"):
        run(**{"folder": tmp_path, "identities": IDENTITIES, **change})


def test_the_result_of_another_seed_is_refused(tmp_path):
    run(folder=tmp_path, identities=IDENTITIES)
    for suffix in (".json", ".safetensors"):
        shutil.copy(tmp_path / "found" / f"seed-0{suffix}", tmp_path / "found" / f"seed-1{suffix}")
    with pytest.raises(RunDirectoryError, match=r"seed-1\.json was written for another"):
        run(folder=tmp_path, identities=IDENTITIES)


def test_automatic_precision_and_its_choice_are_the_same_comparison(tmp_path):
    whole = run(folder=tmp_path, identities=IDENTITIES)
    settled = json.loads((tmp_path / "choices.json").read_text())
    chosen = TRAINING.model_copy(update={name: settled[name] for name in ("precision", "replication")})
    assert run(training=chosen, folder=tmp_path, identities=IDENTITIES) == whole


def test_a_deleted_arm_is_trained_again_to_the_same_result(tmp_path):
    whole = run(folder=tmp_path, identities=IDENTITIES)
    shutil.rmtree(tmp_path / "found")
    assert run(folder=tmp_path, identities=IDENTITIES) == whole


def test_trainings_that_diverge_do_not_stop_the_others(tmp_path):
    given = {"broken": NaNLoss(), "cross_entropy": nn.CrossEntropyLoss()}
    options = {"folder": tmp_path, "identities": {"broken": "nan", "cross_entropy": "ce"}}
    comparison = run(given=given, **options)
    assert comparison.losses["broken"].num_diverged == 2
    assert comparison.losses["broken"].metrics["accuracy"].sample is None
    assert comparison.losses["cross_entropy"].num_diverged == 0
    assert "2 of 2 trainings with 'broken' diverged" in comparison.notes[0]
    assert run(given=given, **options) == comparison


def test_a_reference_that_is_not_compared_is_refused():
    with pytest.raises(ValueError, match="'cross_entropy' is not among the losses: found"):
        run(given={"found": nn.MultiMarginLoss()}, reference="cross_entropy")


def test_a_folder_needs_an_identity_for_each_loss(tmp_path):
    with pytest.raises(ValueError, match=r"identities\['cross_entropy'\] is missing"):
        run(folder=tmp_path, identities={"found": "margin"})


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "a\\b", "a:b", "new\nline"])
def test_names_that_cannot_be_folders_are_refused(tmp_path, name):
    given = {name: nn.MultiMarginLoss(), "cross_entropy": nn.CrossEntropyLoss()}
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        run(given=given, folder=tmp_path, identities=dict.fromkeys(given, "id"))


@pytest.mark.parametrize("name", ["focal(gamma=2.0)", "type='focal' gamma=2.0", "poly-1 +", "r\u00e9gime"])
def test_other_names_can_be_folders(tmp_path, name):
    given = {name: nn.MultiMarginLoss(), "cross_entropy": nn.CrossEntropyLoss()}
    run(given=given, folder=tmp_path, identities=dict.fromkeys(given, "id"))
    assert (tmp_path / name / "seed-1.json").is_file()


comparing = importlib.import_module("lossforge.evidence.alike")  # of this name the package has the function


class TestChoices:
    @pytest.fixture
    def made(self, monkeypatch):
        """The choices made, which are others each time."""
        made = []

        def choose(spec, data, num_seeds):
            precision = "bfloat16" if len(made) % 2 == 0 else "float32"
            made.append(Choices(precision, "in_turn", {"precision": f"the {len(made)}th", "replication": "-"}))
            return made[-1]

        monkeypatch.setattr(comparing, "choose", choose)
        return made

    @pytest.fixture
    def trained_with(self, monkeypatch):
        """The specs that trainings were carried out with."""
        specs = []

        def spied(spec, *args, **options):
            specs.append(spec)
            return train_together(spec, *args, **options)

        monkeypatch.setattr(arms, "train_together", spied)
        return specs

    @pytest.mark.parametrize("stored", [False, True])
    def test_are_made_once_for_all_arms_and_told(self, stored, made, trained_with, tmp_path, notes):
        run(observer=notes, **({"folder": tmp_path, "identities": IDENTITIES} if stored else {}))
        assert notes.choices == made
        assert len(made) == 1
        assert trained_with == [made[0].apply(TRAINING)] * 4
        assert trained_with[0].precision == "bfloat16"

    def test_are_written_once_and_taken_from_there(self, made, trained_with, tmp_path, notes):
        run(folder=tmp_path, identities=IDENTITIES)
        before = (tmp_path / "choices.json").read_bytes()
        assert json.loads(before) == made[0].to_json()
        shutil.rmtree(tmp_path / "found")
        run(folder=tmp_path, identities=IDENTITIES, seeds=3, observer=notes)
        assert (len(made), notes.choices) == (1, [])
        assert (tmp_path / "choices.json").read_bytes() == before
        assert {spec.precision for spec in trained_with} == {"bfloat16"}
        assert len(trained_with) == 4 + 4

    def test_are_not_needed_where_the_spec_states_all(self, made, tmp_path, notes):
        run(SETTLED, folder=tmp_path, identities=IDENTITIES, observer=notes)
        assert (made, notes.choices) == ([], [])
        assert not (tmp_path / "choices.json").exists()

    def test_that_are_damaged_are_told(self, tmp_path):
        (tmp_path / "choices.json").write_text("[]")
        with pytest.raises(
            RunDirectoryError, match=r"choices\.json: damaged .*; delete it to have the choices made anew"
        ):
            run(folder=tmp_path, identities=IDENTITIES)


def stacked(replication, **options):
    return SETTLED.model_copy(update={"replication": replication, "stacked": 2, "epochs": 2, **options})


@pytest.fixture(scope="module")
def pool():
    """Processes for all tests, for they take seconds to begin."""
    with TrainingPool(2, 1) as pool:
        yield pool


class TestSeveralSeedsAtOnce:
    @pytest.fixture(autouse=True)
    def _two_processes(self, pool, monkeypatch):
        monkeypatch.setattr(comparing, "pool_size", lambda spec: (2, 1))
        monkeypatch.setattr(comparing, "TrainingPool", lambda *size: contextlib.nullcontext(pool))

    def test_grouped_ones_are_one_computation(self, notes):
        comparison = run(stacked("grouped"), seeds=3, observer=notes)
        order = [(name, index) for indices in ((0, 1), (2,)) for name in IDENTITIES for index in indices]
        assert [(arm.loss, arm.seed_index) for arm in notes.arms] == order
        assert [each[:2] for each in notes.epochs[:4]] == [("found", 0), ("found", 1)] * 2
        data, seeds = prepare(stacked("grouped"), 5, "cpu"), comparison.training_seeds
        expected = train_together(stacked("grouped"), data, nn.MultiMarginLoss(), seeds[:2])
        expected += train_together(stacked("grouped"), data, nn.MultiMarginLoss(), seeds[2:])
        assert comparison.losses["found"].results == tuple(expected)

    def test_those_in_processes_are_those_in_turn(self, tmp_path, notes):
        in_turn = run(stacked("in_turn"))
        folder = {"folder": tmp_path, "identities": IDENTITIES}
        found = run(stacked("processes"), observer=notes, **folder)
        assert found == in_turn
        told = {(name, index, record.epoch) for name, index, record in notes.epochs}
        assert told == {(name, index, epoch) for name in IDENTITIES for index in (0, 1) for epoch in (1, 2)}
        names = sorted(path.name for path in (tmp_path / "found").iterdir())
        assert names == ["seed-0.json", "seed-0.safetensors", "seed-1.json", "seed-1.safetensors"]

    @pytest.mark.parametrize("replication", ["grouped", "processes", "in_turn"])
    def test_one_that_is_interrupted_within_goes_on_after_its_last_epoch(
        self, replication, tmp_path, monkeypatch, notes
    ):
        training = stacked(replication, epochs=3)
        whole = run(training, folder=tmp_path / "whole", identities=IDENTITIES)
        told, finished = [], set()

        class Stops(TrainingObserver):
            def epoch(self, loss, records):
                told.extend((loss, seed, record.epoch) for seed, record in records.items())
                if told[-1][::2] == ("cross_entropy", 2):
                    raise KeyboardInterrupt

            def trained(self, arm):
                finished.add((arm.loss, arm.seed_index))

        parts = {"folder": tmp_path / "parts", "identities": IDENTITIES}
        with monkeypatch.context() as patch:
            patch.setattr(comparing, "TrainingPool", TrainingPool)  # one that ends with the interruption
            with pytest.raises(KeyboardInterrupt):
                run(training, observer=Stops(), **parts)
        unfinished = list((tmp_path / "parts" / "cross_entropy").glob("seed-0*.unfinished.safetensors"))
        assert len(unfinished) == 1 or replication == "processes"
        found = run(training, observer=notes, **parts)
        assert found == whole
        again = [(name, index, record.epoch) for name, index, record in notes.epochs]
        assert not {(*told[-1][:2], epoch) for epoch in (1, 2)} & set(again)
        assert not {each[:2] for each in again} & finished
        # A process may be behind the other, with a training of the loss before.
        assert {name for name, _ in finished} == {"found"}
        assert len(finished) == training.stacked or replication == "processes"
        for path in sorted((tmp_path / "whole").rglob("*.*")):
            assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes()
        assert not list(tmp_path.rglob("*unfinished*"))

    def test_a_group_interrupted_while_it_is_stored_comes_to_the_same_bits(self, tmp_path, notes, monkeypatch):
        options = {"folder": tmp_path, "identities": IDENTITIES}
        whole = run(stacked("grouped"))
        write = ArmStore.write

        def interrupted(store, loss, index, *rest):
            if index == 1:
                raise KeyboardInterrupt
            write(store, loss, index, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(ArmStore, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(stacked("grouped"), **options)
        assert run(stacked("grouped"), observer=notes, **options) == whole
        assert notes.restored == [True, False, False, False]
        assert {name for name, _, _ in notes.epochs} == {"cross_entropy"}, "what was trained is only tested again"
        assert not list(tmp_path.rglob("*unfinished*"))

    @pytest.mark.parametrize("num_before", [1, 2])
    def test_seeds_added_to_an_interrupted_group_leave_it_as_it_was(self, num_before, tmp_path, notes):
        training = stacked("grouped", stacked=4)
        apart = run(training, seeds=num_before).losses["found"].results
        options = {"folder": tmp_path, "identities": IDENTITIES}

        class Stops(TrainingObserver):
            def epoch(self, loss, records):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(training, seeds=num_before, **options, observer=Stops())
        found = run(training, seeds=4, observer=notes, **options).losses["found"].results
        assert found[:num_before] == apart
        told = [(seed, record.epoch) for name, seed, record in notes.epochs if name == "found"]
        added = range(num_before, 4)
        assert told == [*((seed, 2) for seed in range(num_before)), *((seed, n) for n in (1, 2) for seed in added)]
        assert not list(tmp_path.rglob("*unfinished*"))

    def test_where_groups_that_were_begun_overlap_what_is_stored_is_what_is_returned(self, tmp_path):
        training = stacked("grouped", stacked=4)
        options = {"folder": tmp_path, "identities": IDENTITIES}

        class Stops(TrainingObserver):
            def epoch(self, loss, records):
                raise KeyboardInterrupt

        for num in (4, 2):
            with pytest.raises(KeyboardInterrupt):
                run(training, seeds=num, **options, observer=Stops())
        assert len(list(tmp_path.rglob("*unfinished*"))) == 2
        found = run(training, seeds=4, **options)
        assert found == run(training, seeds=4, **options)
        assert found.losses["found"].results[:2] == run(training, seeds=2).losses["found"].results
        assert not list(tmp_path.rglob("*unfinished*"))

    def test_what_is_missing_of_a_group_is_trained_in_stretches(self, tmp_path, notes):
        options = {"folder": tmp_path, "identities": IDENTITIES}
        run(stacked("grouped", stacked=4, epochs=1), seeds=4, **options)
        for index in (0, 2, 3):
            (tmp_path / "found" / f"seed-{index}.json").unlink()
        run(stacked("grouped", stacked=4, epochs=1), seeds=4, observer=notes, **options)
        assert [seed for _, seed, _ in notes.epochs] == [0, 2, 3]
        trained = [(arm.loss, arm.seed_index) for arm in notes.arms if not arm.restored]
        assert trained == [("found", 0), ("found", 2), ("found", 3)]

    @pytest.mark.parametrize("replication", ["grouped", "processes", "in_turn"])
    def test_a_loss_that_diverges_does_not_stop_the_others(self, replication):
        given = {
            "broken": nn.CrossEntropyLoss(weight=torch.full((4,), torch.inf)),
            "cross_entropy": nn.CrossEntropyLoss(),
        }
        comparison = run(stacked(replication), given)
        assert [result.diverged_at_epoch for result in comparison.losses["broken"].results] == [1, 1]
        assert comparison.losses["cross_entropy"].num_diverged == 0
        assert comparison.notes[0].startswith("2 of 2 trainings with 'broken' diverged")

    def test_more_seeds_leave_what_is_stored_as_it_is(self, tmp_path):
        options = {"folder": tmp_path, "identities": IDENTITIES}
        run(stacked("grouped"), seeds=3, **options)
        before = (tmp_path / "found" / "seed-2.json").read_bytes()
        more = run(stacked("grouped"), seeds=4, **options)
        assert (tmp_path / "found" / "seed-2.json").read_bytes() == before
        assert run(stacked("grouped"), seeds=4, **options) == more

    def test_the_last_of_several_is_trained_as_it_would_have_been_with_the_others(self, tmp_path, monkeypatch):
        """In a process, which has fewer threads than this one, and so other bits."""
        options = {"folder": tmp_path, "identities": IDENTITIES}
        whole = run(stacked("processes"), **options)
        (tmp_path / "found" / "seed-1.json").unlink()

        def refused(*args, **options):
            raise AssertionError("trained here")

        monkeypatch.setattr(arms, "train_together", refused)
        assert run(stacked("processes"), **options) == whole


def test_a_folder_says_what_was_trained_on(tmp_path):
    run(SETTLED, folder=tmp_path, identities=IDENTITIES)
    record = json.loads((tmp_path / "data.json").read_text())
    assert record == json.loads(json.dumps(dict(prepare(SETTLED, 5, "cpu").record)))


def test_labels_that_have_changed_since_are_refused(tmp_path):
    """The spec names the file alone."""
    training = SETTLED.model_copy(
        update={"num_train": None, "label_noise": FileNoise(path=str(tmp_path / "labels.txt"))}
    )
    options = {"folder": tmp_path / "arms", "identities": IDENTITIES}
    (tmp_path / "labels.txt").write_text("0 1 2 3\n" * 8)
    run(training, **options)
    (tmp_path / "labels.txt").write_text("0 1 3 2\n" * 8)
    run(training, **options)  # is read back: nothing is left to train
    with pytest.raises(RunDirectoryError, match=r"data\.json: the images or labels are not those"):
        run(training, seeds=3, **options)


def test_no_folder_is_needed_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(SETTLED)
    assert not list(tmp_path.iterdir())
