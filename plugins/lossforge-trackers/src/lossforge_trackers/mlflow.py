"""MLflow, by its client (https://mlflow.org/docs/latest/tracking).

The client is told a run's id with each call, so that several runs of one process do not mix, nor with a run that the
process has begun itself with ``mlflow.start_run``. The id stands in the run directory: a run that goes on does so in
MLflow, too, and steps that are there already are not sent again.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field

from lossforge.files import write_atomically
from lossforge.interfaces import Tracker, TrackerSession
from lossforge.types import TrackedRun
from lossforge_trackers.library import needed
from lossforge_trackers.names import key, text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

MOST_PARAMS, MOST_METRICS = 100, 1000
"""What MLflow takes at once."""

SECONDS = 5.0
"""Between requests with metrics; what a killed process had not sent comes again on resumption."""

EXTRAS = {"mlflow": "mlflow", "sqlalchemy": "sqlite", "alembic": "sqlite"}

ItemT = TypeVar("ItemT")


class MLflow(Tracker):
    """Runs of an MLflow experiment: parameters, metrics, files, and whether the run was finished."""

    type: Literal["mlflow"] = "mlflow"
    tracking_uri: str | None = Field(
        default=None,
        min_length=1,
        description="where MLflow keeps runs: http://..., or sqlite:///PATH; null: what its environment says "
        "(MLFLOW_TRACKING_URI), or where the run was begun, or MLflow's default",
    )
    experiment: str = Field(default="lossforge", min_length=1, max_length=500, description="made where it is not there")
    artifact_location: str | None = Field(
        default=None,
        min_length=1,
        description="where an experiment that is made keeps its files; null: what MLflow chooses, which for a local "
        "database is mlruns in the current folder",
    )
    tags: dict[str, str] = Field(default_factory=dict, description="tags of the run in MLflow")

    def open(self, run: TrackedRun) -> TrackerSession:
        """Begin a run of the experiment, or go on with it."""
        with needed(EXTRAS):
            from mlflow import MlflowClient

            memory = run.memory / "mlflow.json"
            begun: dict[str, str] = json.loads(memory.read_bytes()) if memory.exists() else {}
            is_named = "MLFLOW_TRACKING_URI" in os.environ  # as mlflow.set_tracking_uri leaves it, too
            uri = self.tracking_uri or (None if is_named else next(reversed(begun), None))
            client = MlflowClient(tracking_uri=uri)
            place = _without_password(client.tracking_uri)
            found = _found(client, begun.get(place))
            if found is None:
                found = self._begin(client, run)
                begun.pop(place, None)
                write_atomically(memory, json.dumps({**begun, place: found.info.run_id}, indent=2))
            return _Session(client, found, run)

    def _begin(self, client: MlflowClient, run: TrackedRun) -> Run:
        name = run.name.encode("utf-8", "backslashreplace").decode()
        return client.create_run(self._experiment(client), run_name=name, tags=dict(self.tags))

    def _experiment(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            try:
                return client.create_experiment(self.experiment, artifact_location=self.artifact_location)
            except MlflowException as error:
                experiment = client.get_experiment_by_name(self.experiment)
                if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                    raise
        return str(experiment.experiment_id)


def _found(client: MlflowClient, run_id: str | None) -> Run | None:
    """Return a run that was begun, unless it has been deleted since."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _without_password(uri: str) -> str:
    return re.sub(r"^([\w.+-]+://)[^/@]*@", r"\1", uri)


class _Session(TrackerSession):
    """Sends what MLflow does not have yet."""

    def __init__(self, client: MlflowClient, begun: Run, run: TrackedRun) -> None:
        self._client, self._id, self._path = client, begun.info.run_id, run.path
        self._stored = set(begun.data.metrics)
        self._steps: dict[str, set[int]] = {}
        self._waiting: list[Metric] = []
        self._sent_at = time.monotonic()
        client.update_run(self._id, status="RUNNING")
        self._send_params(run, set(begun.data.params))

    def _send_params(self, run: TrackedRun, stored: set[str]) -> None:
        """Send settings; MLflow refuses to change those that it has."""
        from mlflow.entities import Param

        params = [Param(key(name), text(value)) for name, value in run.settings.items()]
        for part in _parts([param for param in params if param.key not in stored], MOST_PARAMS):
            self._client.log_batch(self._id, params=part)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Send metrics, once in a while; NaN and infinities as they are."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in values.items():
            steps = self._steps_of(key(name))
            if step not in steps:
                steps.add(step)
                self._waiting.append(Metric(key(name), value, now, step))
        if len(self._waiting) >= MOST_METRICS or time.monotonic() - self._sent_at >= SECONDS:
            self._send()

    def _steps_of(self, name: str) -> set[int]:
        """Return the steps of a metric that MLflow has, or will have."""
        if name not in self._steps:
            history = self._client.get_metric_history(self._id, name) if name in self._stored else []
            self._steps[name] = {metric.step for metric in history}
        return self._steps[name]

    def _send(self) -> None:
        for part in _parts(self._waiting, MOST_METRICS):
            self._client.log_batch(self._id, metrics=part)
        self._waiting, self._sent_at = [], time.monotonic()

    def file(self, path: Path) -> None:
        """Send a file, at its place in the run directory."""
        folder = path.parent.relative_to(self._path).as_posix()
        self._client.log_artifact(self._id, str(path), None if folder == "." else folder)

    def close(self, finished: bool) -> None:
        """Send what is left, and whether the run is finished."""
        self._send()
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


def _parts(items: Sequence[ItemT], size: int) -> Iterator[list[ItemT]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
