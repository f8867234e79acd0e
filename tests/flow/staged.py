"""A small flow in the shape of ours: a cached step, then a long one that goes on from its checkpoint.

`python staged.py` registers it, as `python -m flows.deployments` registers ours.
"""

import time
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.states import Completed

from flows.deployments import Deployment, register
from flows.run_names import named


@task(persist_result=True, result_serializer="json", cache_key_fn=lambda _, given: f"prepare-{given['folder']}")
def prepare(folder: str) -> int:
    """Leaves a line each time it is really done."""
    with (Path(folder) / "prepared").open("a") as file:
        file.write("once\n")
    return 1


@task
def train(folder: str, num_steps: int, seconds_per_step: float) -> int:
    """One line a step; begins after the last line that is there."""
    path = Path(folder) / "steps"
    done = len(path.read_text().splitlines()) if path.exists() else 0
    get_run_logger().info("begins at step %d", done)
    for step in range(done, num_steps):
        time.sleep(seconds_per_step)
        with path.open("a") as file:
            file.write(f"{step}\n")
    return num_steps


@flow(flow_run_name=named("staged {num_steps}"))
def staged(folder: str, num_steps: int = 3, seconds_per_step: float = 0.1, quiet: bool = False, table: str = ""):
    del table  # the run's word for what it claimed
    prepare(folder)
    train(folder, num_steps, seconds_per_step)
    return Completed(name="NotEnoughFeedback") if quiet else Completed()


if __name__ == "__main__":
    with get_client(sync_client=True) as client:
        register(client, [Deployment("staged.staged")])
