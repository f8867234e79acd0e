"""Trains on a local Ray cluster of two nodes, one of which is killed in the middle, and by torchrun; run by a test."""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

from components.recipes import parse_recipe
from components.training.launch import Launch, train
from tests.fault.data_on_ray import started


def main(recipe_json: str, data: str, folder: str, killed_at: str) -> None:
    recipe = parse_recipe(json.loads(recipe_json))
    here = Launch(workers=2, strategy="ddp", threads=1, device="cpu")
    folders = {"data_dir": Path(data), "weights_dir": None}
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("components.training.launch").addHandler(handler)
    undisturbed = train(recipe, here, run_dir=Path(folder) / "torchrun", **folders)
    cluster = started({"num_cpus": 2, "object_store_memory": 100 << 20, "include_dashboard": False})
    second = cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
    steps: list[int] = []

    def on_step(progress):
        steps.append(progress.step)
        if len(steps) == int(killed_at):
            cluster.remove_node(second, allow_graceful=False)

    try:
        on_ray = replace(here, ray_address=cluster.address)
        done = train(recipe, on_ray, run_dir=Path(folder) / "ray", on_step=on_step, **folders)
    finally:
        cluster.shutdown()
    same = {"sha256": undisturbed.weights_sha256 == done.weights_sha256, "losses": undisturbed.losses == done.losses}
    facts = {"steps": steps, "resumed_from": done.resumed_from, "told": told, "parallel": done.lock.parallel}
    facts["leftovers"] = [one.name for one in (Path(folder) / "ray").iterdir()]
    print(json.dumps(same | facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
