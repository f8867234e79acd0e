"""Runs in MLflow: what is logged while something trains, and what is read back of it.

MLflow mirrors; it decides nothing. A server that is down while a model trains makes its curves late,
it does not stop the training.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from components.errors import RegistryError, RegistryUnavailable, VersionNotFound

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS_PER_CALL = 100  # one by one they cost 18 ms each; the server takes up to 1,000
FLUSH_SECONDS = 2.0
MAX_BUFFERED = 50_000
_ENVIRONMENT = {  # MLflow knows these as environment variables only
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_UNAVAILABLE = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "ABORTED"}
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """The boundary to MLflow: its exceptions, and those of its HTTP client, become ours.

    Raises:
        RegistryUnavailable: the server did not answer, or says that it cannot now.
        VersionNotFound: it answered that there is no such thing.
        RegistryError: anything else that it refused.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except RequestException as err:
        raise _unavailable(what, type(err).__name__) from err
    except MlflowException as err:
        code, reason = str(err.error_code), str(err).split("\n")[0]
        if code in _UNAVAILABLE or (reason.startswith("API request to") and "failed with exception" in reason):
            raise _unavailable(what, reason) from err
        if code in _MISSING:
            raise VersionNotFound(f"{what}: {reason}", "the dashboard's models page lists what there is") from err
        if code == "INTERNAL_ERROR" and getattr(err, "get_http_status_code", lambda: 0)() >= 500:
            raise _unavailable(what, reason) from err
        raise RegistryError(f"{what}: {reason}") from err


def _unavailable(what: str, reason: str) -> RegistryUnavailable:
    return RegistryUnavailable(f"{what}: MLflow did not answer ({reason})", "banyan status shows whether it runs")


def connect(url: str) -> "MlflowClient":
    """A client of the MLflow at `url` (its server's address, or an SQLAlchemy URL).

    MLflow tries a dead server for four minutes by default; callers here have retries of their own.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # 0.8 s

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every version that it waits for

    return MlflowClient(tracking_uri=url, registry_uri=url)


@dataclass(frozen=True)
class RunInfo:
    """A run as MLflow has it. Times are seconds since the epoch; metrics are the last of each."""

    run_id: str
    experiment: str
    name: str
    status: str
    started_at: float
    ended_at: float | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class RunLog:
    """Writes to one run. Metrics are gathered and sent in batches; the block's end sends what is left.

    As a context manager it ends the run as FINISHED, or FAILED when the block raised.
    """

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self._waiting: list[tuple[str, float, int, int]] = []
        self._sent_at = time.monotonic()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.end("FINISHED")
            return
        with contextlib.suppress(RegistryError):  # the block's own error is the one to be seen
            self.end("FAILED")

    def log(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Note metrics; they are sent when enough have gathered. Never raises for a server that is down."""
        at = int(time.time() * 1000)
        self._waiting += [(name, float(value), at, step) for name, value in metrics.items()]
        due = len(self._waiting) >= METRICS_PER_CALL or time.monotonic() - self._sent_at >= FLUSH_SECONDS
        if due:
            with contextlib.suppress(RegistryUnavailable):
                self.flush()
            del self._waiting[:-MAX_BUFFERED]

    def flush(self) -> None:
        """Send what waits.

        Raises:
            RegistryUnavailable: it still waits, and the next call tries again.
        """
        from mlflow.entities import Metric

        self._sent_at = time.monotonic()
        while self._waiting:
            batch = self._waiting[:METRICS_PER_CALL]
            with translated(f"the metrics of run {self.run_id} were not logged"):
                self._client.log_batch(self.run_id, metrics=[Metric(*item) for item in batch])
            del self._waiting[: len(batch)]

    def tag(self, **tags: str) -> None:
        from mlflow.entities import RunTag

        with translated(f"run {self.run_id} was not tagged"):
            self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def text(self, content: str, name: str) -> None:
        """Keep a text as the run's artifact `name`; a later one of the same name replaces it."""
        with translated(f"{name} of run {self.run_id} was not logged"):
            self._client.log_text(self.run_id, content, name)

    def files(self, folder: Path, under: str = "") -> None:
        """Keep the files of a folder as the run's artifacts."""
        with translated(f"the files of run {self.run_id} were not logged"):
            self._client.log_artifacts(self.run_id, str(folder), under or None)

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Send what waits and close the run."""
        self.flush()
        with translated(f"run {self.run_id} was not ended"):
            self._client.set_terminated(self.run_id, status)


def start_run(
    client: "MlflowClient",
    experiment: str,
    *,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    key: str = "",
) -> RunLog:
    """A new run; or, under the same `key`, the one that an interrupted attempt left running."""
    from mlflow.entities import Param, RunTag

    with translated(f"no run could be started in {experiment}"):
        experiment_id = experiment_named(client, experiment)
        if key:
            left = f"tags.`banyan.key` = '{key}' and attributes.status = 'RUNNING'"
            found = client.search_runs([experiment_id], left, max_results=1)
            if found:
                return RunLog(client, found[0].info.run_id)
        all_tags = {**tags, **({"banyan.key": key} if key else {})}
        run_id = client.create_run(experiment_id, run_name=name, tags=all_tags).info.run_id
        flat = [Param(field, str(value)[:6000]) for field, value in params.items()]
        for first in range(0, len(flat), 100):  # the server's limit
            client.log_batch(run_id, params=flat[first : first + 100], tags=[RunTag("banyan.params", "1")])
    return RunLog(client, run_id)


def experiment_named(client: "MlflowClient", name: str) -> str:
    """The id of the experiment, made when it is not there (by two at once, too), or RegistryError."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        with contextlib.suppress(MlflowException):
            return str(client.create_experiment(name))
        found = client.get_experiment_by_name(name)
    if found is None:
        raise RegistryError(f"experiment {name!r} could not be made")
    return str(found.experiment_id)


def list_runs(client: "MlflowClient", experiment: str | None, limit: int) -> list[RunInfo]:
    """The newest runs of an experiment, or of all of them."""
    with translated("the runs could not be listed"):
        names = {
            str(found.experiment_id): str(found.name)
            for found in client.search_experiments()
            if experiment is None or found.name == experiment
        }
        found_runs = client.search_runs(list(names), max_results=limit, order_by=["attributes.start_time DESC"])
    return [
        RunInfo(
            run_id=run.info.run_id,
            experiment=names[run.info.experiment_id],
            name=run.info.run_name or run.info.run_id,
            status=run.info.status,
            started_at=run.info.start_time / 1000,
            ended_at=run.info.end_time / 1000 if run.info.end_time else None,
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
            tags={k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
        )
        for run in found_runs
    ]


def metric_history(client: "MlflowClient", run_id: str, metric: str) -> list[tuple[int, float]]:
    """(step, value), in order of steps; the last value where a resumed run logged a step twice."""
    with translated(f"{metric} of run {run_id} could not be read"):
        points = client.get_metric_history(run_id, metric)
    last = {point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}
    return sorted(last.items())
