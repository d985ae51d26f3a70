"""MLflow's own client reads what was told, from a real database."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lossforge.testing import TrackerKit
from lossforge.types import TrackedRun
from lossforge_trackers import MLflow
from lossforge_trackers.names import key

pytestmark = pytest.mark.filterwarnings("default")  # SQLAlchemy's, of what MLflow does with it


@pytest.fixture
def store(tmp_path, database) -> Path:
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(database, store / "mlflow.db")
    return store


@pytest.fixture
def tracker(store) -> MLflow:
    return MLflow(tracking_uri=f"sqlite:///{store}/mlflow.db", artifact_location=str(store / "files"))


@pytest.fixture
def client(tracker) -> MlflowClient:
    return MlflowClient(tracker.tracking_uri)


def run_id(run: TrackedRun) -> str:
    (found,) = json.loads((run.memory / "mlflow.json").read_text()).values()
    return found


class TestContract(TrackerKit):
    library = "mlflow"

    @pytest.fixture
    def component(self, tracker):
        return tracker

    @pytest.fixture
    def places(self, store):
        return (store,)

    def read(self, component, run):
        client = MlflowClient(component.tracking_uri)
        names = client.get_run(run_id(run)).data.metrics
        histories = {name: client.get_metric_history(run_id(run), name) for name in names}
        return {name: [(each.step, each.value) for each in history] for name, history in histories.items()}

    def shown(self, name):
        return key(name)


@pytest.fixture
def run(tmp_path) -> TrackedRun:
    settings = {"name": "edl", "search.strategy.sigma": 0.1, "training": None, "long": "x" * 7000, "flag": True}
    run = TrackedRun("edl", tmp_path / "run", settings, resumed=False)
    (run.memory).mkdir(parents=True)
    return run


@contextlib.contextmanager
def told(tracker: MLflow, run: TrackedRun, *, finished: bool = True) -> Iterator[None]:
    session = tracker.open(run)
    yield session
    session.close(finished=finished)


def test_settings_are_parameters_as_a_spec_spells_them(tracker, client, run):
    with told(tracker, run):
        pass
    stored = client.get_run(run_id(run))
    assert stored.data.params == {
        "name": "edl",
        "search.strategy.sigma": "0.1",
        "training": "null",
        "long": "x" * 5999 + "…",
        "flag": "true",
    }
    assert stored.info.run_name == "edl"
    assert client.get_experiment(stored.info.experiment_id).name == "lossforge"


def test_a_parameter_keeps_its_first_value_and_new_ones_are_added(tracker, client, run):
    for settings in ({"seeds": 1}, {"seeds": 2, "epochs": 3}):
        with told(tracker, TrackedRun("edl", run.path, settings, resumed=False)):
            pass
    assert client.get_run(run_id(run)).data.params == {"seeds": "1", "epochs": "3"}


def test_files_are_at_their_places_and_the_last_content_counts(tracker, client, run, tmp_path):
    (run.path / "artifact").mkdir()
    for content in ("1", "2"):
        with told(tracker, run) as session:
            for name in ("spec.yaml", "artifact/loss.json"):
                (run.path / name).write_text(content)
                session.file(run.path / name)
    assert [file.path for file in client.list_artifacts(run_id(run))] == ["artifact", "spec.yaml"]
    (tmp_path / "read").mkdir()
    read = client.download_artifacts(run_id(run), "artifact/loss.json", str(tmp_path / "read"))
    assert Path(read).read_text() == "2"


def test_the_status_is_that_of_the_run_and_tags_are_the_users(tracker, client, run):
    tracker = tracker.model_copy(update={"tags": {"team": "vision"}})
    session = tracker.open(run)
    begun = client.get_run(run_id(run))
    assert (begun.info.status, begun.data.tags["team"]) == ("RUNNING", "vision")
    session.close(finished=False)
    assert client.get_run(run_id(run)).info.status == "KILLED"
    with told(tracker, run):
        assert client.get_run(run_id(run)).info.status == "RUNNING"
    assert client.get_run(run_id(run)).info.status == "FINISHED"
    assert len(client.search_runs([begun.info.experiment_id])) == 1


def test_a_run_that_was_deleted_in_mlflow_is_begun_anew(tracker, client, run):
    with told(tracker, run):
        pass
    first = run_id(run)
    client.delete_run(first)
    with told(tracker, run):
        pass
    assert run_id(run) != first
    (run.memory / "mlflow.json").write_text(json.dumps({tracker.tracking_uri: "0" * 32}))
    with told(tracker, run):
        pass
    assert run_id(run) not in (first, "0" * 32)


def test_without_an_address_the_environment_counts_and_then_where_the_run_was_begun(tracker, client, run, monkeypatch):
    anywhere = MLflow(artifact_location=tracker.artifact_location)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.tracking_uri)
    with told(anywhere, run):
        pass
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with told(anywhere, run) as session:
        session.metrics({"a": 1.0}, 0)
    assert client.get_run(run_id(run)).data.metrics == {"a": 1.0}


def test_a_password_does_not_get_into_the_run_directory(monkeypatch, run):
    from lossforge_trackers import mlflow

    assert mlflow._without_password("https://me:secret@host:5000/x@y") == "https://host:5000/x@y"
    assert mlflow._without_password("sqlite:////a@b/m.db") == "sqlite:////a@b/m.db"


def test_many_metrics_go_in_parts(tracker, client, run):
    with told(tracker, run) as session:
        session.metrics({f"search/best/{index}": float(index) for index in range(2500)}, 0)
    assert len(client.get_run(run_id(run)).data.metrics) == 2500


def test_a_database_without_its_library_is_told_with_the_extra(tracker, run, monkeypatch):
    from lossforge.errors import PluginError
    from lossforge_trackers import mlflow

    def begin(*_):
        raise ModuleNotFoundError("No module named 'alembic'", name="alembic.script")

    monkeypatch.setattr(mlflow.MLflow, "_begin", begin)
    with pytest.raises(PluginError, match=r"alembic is not installed; .*pip install 'lossforge-trackers\[sqlite\]'"):
        tracker.open(run)
