"""Packs a corpus on a local Ray cluster of two nodes, one of which is killed in the middle; run by a test."""

import json
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from components.data.engine.run import Resources, pack_corpus
from components.recipes import parse_recipe


def started(how: dict[str, object], attempts: int = 3) -> Cluster:
    """A cluster of one node. Ray gives a node 30 s to come up, which a busy machine exceeds."""
    for attempt in range(attempts):
        try:
            return Cluster(initialize_head=True, head_node_args=how)
        except Exception:  # Ray raises no other kind
            if attempt == attempts - 1:
                raise
    raise AssertionError


def main(recipe_json: str, folder: str, part_bytes: str) -> None:
    how = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = started(how)
    second = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    prepared = Path(f"{folder}.work") / "prepared"
    died_at: list[int] = []

    def kill() -> None:
        while not prepared.is_dir() or not [*prepared.glob("0*")]:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        died_at.append(len([*prepared.glob("0*")]))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        report = pack_corpus(
            parse_recipe(json.loads(recipe_json)),
            folder=Path(folder),
            resources=Resources(ray_address=cluster.address),
            part_bytes=int(part_bytes),
        )
        killer.join()
        nodes = [node["Alive"] for node in ray.nodes()]
        facts = {"rows_in": report.rows_in, "rows_kept": report.rows_kept, "rejects": report.rejects}
        facts |= {"parts": report.parts, "done_when_it_died": died_at[0], "alive": sum(nodes), "nodes": len(nodes)}
        print(json.dumps(facts))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
