"""Where the parts of a corpus are worked on: processes of this machine, or a Ray cluster's. Daft places them.

A frame of one row a part goes through one function, which gives one row back; what a part is, Daft does not know. So
the same code runs in both places, no document passes through the driver, and a part whose machine died is simply one
that is not done yet.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from components import errors
from components.errors import BanyanError, DataError, UsageError

ROUNDS = 3
"""So often what a lost machine left undone is begun again."""
FAILED = "__failed__"
"""In place of a result: the name of an error of ours, its message and its remedy."""

Job = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Resources:
    """What a run may use; it changes nothing of what is made."""

    memory_mb: int = 1024
    """Of all processes together, about."""
    num_workers: int | None = None
    """Processes; None: one a core that this process may use. On Ray the cluster decides."""
    ray_address: str | None = None
    """A Ray cluster's, as `ray.init` takes it; every node must see the folder that is worked in. None: this machine."""

    @property
    def workers(self) -> int:
        return self.num_workers or len(os.sched_getaffinity(0))


def run_parts(
    job: Job, arguments: Sequence[dict[str, Any]], *, resources: Resources, is_done: Callable[[dict[str, Any]], bool]
) -> Iterator[dict[str, Any]]:
    """The results of `job(**arguments)` for each, in the order in which they come.

    `job` is a module's function, its arguments and results are what JSON holds. On Ray, what a lost machine has not
    done is done by the others.

    Raises:
        DataError: a job failed, with what it said.
        UsageError: no such Ray cluster, or Ray is not installed.
    """
    waiting = list(arguments)
    for turn in range(ROUNDS):
        try:
            yield from _results(job, waiting, resources)
            return
        except Exception as err:
            if not _lost_a_machine(err, resources):
                raise
            waiting = [one for one in waiting if not is_done(one)]
            if turn == ROUNDS - 1 and waiting:
                raise DataError(
                    f"{len(waiting)} parts were lost with their machines {ROUNDS} times: {_last_line(err)}",
                    "look at the cluster, then start again: what is done stays done",
                ) from err


def _results(job: Job, arguments: Sequence[dict[str, Any]], resources: Resources) -> Iterator[dict[str, Any]]:
    if not arguments:
        return
    daft = _daft(resources)
    name = f"{job.__module__}:{job.__qualname__}"
    column = {"return_dtype": daft.DataType.string(), "batch_size": 1}
    frame = daft.from_pydict({"arguments": [json.dumps(one) for one in arguments]})
    if resources.ray_address is None:

        class Worker:
            @daft.method.batch(**column)
            def work(self, encoded: Any) -> list[str]:
                return _called(name, encoded.to_pylist())

        work: Any = daft.cls(Worker, max_concurrency=resources.workers, use_process=True)().work
    else:  # as tasks, which Daft schedules again when their node is lost
        frame = frame.into_partitions(min(len(arguments), _ray_tasks()))

        @daft.func.batch(use_process=True, **column)
        def work_of_frame(encoded: Any) -> list[str]:
            return _called(name, encoded.to_pylist())

        work = work_of_frame
    try:
        for row in frame.select(work(frame["arguments"]).alias("result")).iter_rows(results_buffer_size=1):
            result = json.loads(row["result"])
            if FAILED in result:
                kind, message, remedy = result[FAILED]
                raise getattr(errors, kind, DataError)(message, remedy)
            yield result
    except daft.errors.UDFException as err:
        raise DataError(
            f"{job.__name__} failed: {_last_line(err.__cause__ or err)}",
            "what is done stays done; mend it and start again",
        ) from err


def _ray_tasks() -> int:
    """Two tasks a core: each starts a process, and what a lost one had done of its parts is not done again."""
    import ray

    return 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))


def _called(name: str, encoded: Sequence[str]) -> list[str]:
    return [call(name, one) for one in encoded]


def call(name: str, encoded: str) -> str:
    """Call the function `module:name` with arguments from JSON; its result as JSON. What a worker does."""
    from importlib import import_module

    module, _, function = name.partition(":")
    try:
        return json.dumps(getattr(import_module(module), function)(**json.loads(encoded)))
    except BanyanError as err:  # of others Daft brings the traceback and loses the type
        return json.dumps({FAILED: [type(err).__name__, err.message, err.remedy]})


def _daft(resources: Resources) -> Any:
    """Daft, set to run where it should: once a process."""
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    import daft

    wanted = "native" if resources.ray_address is None else "ray"
    current: Any = daft.runners._get_runner()
    if current is not None:
        if current.name != wanted:
            raise UsageError(f"this process runs Daft as {current.name}, and {wanted} was asked for", "start a new one")
    elif wanted == "native":
        daft.set_runner_native(num_threads=resources.workers)
    else:
        try:
            import ray  # noqa: F401
        except ImportError as err:
            raise UsageError("ray_address is set and Ray is not installed", "pip install 'banyan-llm[ray]'") from err
        try:
            daft.set_runner_ray(resources.ray_address, noop_if_initialized=True)
        except (ConnectionError, RuntimeError, ValueError) as err:
            raise UsageError(f"no Ray cluster at {resources.ray_address}: {_last_line(err)}", "ray status") from err
    return daft


def _lost_a_machine(err: BaseException, resources: Resources) -> bool:
    if resources.ray_address is None or isinstance(err, BanyanError):
        return False
    import ray

    seen: BaseException | None = err
    while seen is not None:
        if isinstance(seen, ray.exceptions.RayError):
            return True
        seen = seen.__cause__ or seen.__context__
    return any(word in str(err) for word in ("ActorDied", "ActorUnavailable", "WorkerDied", "NodeDied", "node"))


def _last_line(err: BaseException) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[-1]
