"""A training's workers on the nodes of a Ray cluster, started by Ray Train: `python -m components.training.ray_launch`.

A program of its own, as torchrun is, so that the process that asks for a training holds no Ray; it is given the same
file and says the same lines (`launch`). When a worker or its node dies, Ray Train starts all workers again on the nodes
that are left, and they go on at the last checkpoint. Every node must see the run's folder, data and base at the same
place, and have this project installed.
"""

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from components.training import distributed, launch

WAIT_FOR_NODES_SECONDS = 60
"""For enough free nodes, once an attempt; `launch.MAX_RESTARTS` times. Ray Train by itself waits for ever."""
_LOOK_EVERY_SECONDS = 0.1


def main() -> None:
    """The driver: starts the workers by Ray Train, and hands on what the first one says."""
    path = Path(sys.argv[1])
    asked = json.loads(path.read_text("utf-8"))
    how = launch.Launch(**asked["launch"])
    threading.Thread(target=launch.end_with_the_parent, daemon=True).start()
    said, storage = path.with_name("said.jsonl"), path.with_name("ray")
    said.unlink(missing_ok=True)
    is_over = threading.Event()
    relay = threading.Thread(target=_hand_on, args=(said, is_over))
    relay.start()
    try:
        _fit(how, asked=str(path), said=str(said), storage=storage)
    finally:
        is_over.set()
        relay.join()
        said.unlink(missing_ok=True)
        shutil.rmtree(storage, ignore_errors=True)


def _fit(how: launch.Launch, *, asked: str, said: str, storage: Path) -> None:
    os.environ |= {"RAY_TRAIN_V2_ENABLED": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(WAIT_FOR_NODES_SECONDS))
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import FailureConfig

    from components.training import ray_launch  # by its name: what is pickled as `__main__` is no module there

    theirs = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "OMP_NUM_THREADS": str(how.threads)}
    ray.init(address=how.ray_address, log_to_driver=False, runtime_env={"env_vars": theirs})
    on_gpu = how.device == "cuda"
    TorchTrainer(
        ray_launch.work,
        train_loop_config={"asked": asked, "said": said},
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout_s=int(distributed.TIMEOUT.total_seconds())
        ),
        scaling_config=ScalingConfig(
            num_workers=how.workers,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": how.threads, **({"GPU": 1} if on_gpu else {})},
            placement_strategy="SPREAD",
        ),
        run_config=RunConfig(
            name="run",
            storage_path=str(storage),
            failure_config=FailureConfig(
                max_failures=launch.MAX_RESTARTS,
                controller_failure_limit=launch.MAX_RESTARTS,
                max_preemption_failures=launch.MAX_RESTARTS,
            ),
        ),
    ).fit()


def work(told: Mapping[str, str]) -> None:
    """One worker's whole life, in Ray's process. Its words go to a file that the driver reads."""
    import ray.train

    asked = json.loads(Path(told["asked"]).read_text("utf-8"))
    said = Path(told["said"])

    def tell(kind: str, content: object) -> None:
        line = json.dumps([kind, content]) + "\n"
        with said.open("a", encoding="utf-8") as file:
            file.write(line)

    if ray.train.get_context().get_world_rank() == 0:
        tell("attempt", None)
    launch.take_part(asked, tell=tell)


def _hand_on(said: Path, is_over: threading.Event) -> None:
    """Every line of the file, as `launch` reads them, from the first one to the last."""
    attempts, rest, place = 0, "", 0
    while True:
        ends = is_over.is_set()  # before the last look, so that nothing is missed
        with contextlib.suppress(OSError), said.open(encoding="utf-8") as file:
            file.seek(place)
            rest += file.read()
            place = file.tell()
        *lines, rest = rest.split("\n")
        for line in lines:
            kind, content = json.loads(line)
            if kind == "attempt":
                attempts += 1
                if attempts == 1:
                    continue
                kind, content = "restart", attempts - 1
            launch.tell(kind, content)
        if ends:
            return
        time.sleep(_LOOK_EVERY_SECONDS)


if __name__ == "__main__":
    main()
