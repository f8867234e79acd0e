"""What each way of choosing well is worth: early stopping, augmentation, class weights, ensembles, search.

    make bench NAME=choices
    SEEDS=2 CHOICES=plain,augmentation STEPS=20 TEST_ROWS=200 make bench NAME=choices

MiniLM on the demo's table `library` (200 training rows, eight libraries), each choice beside the plain recipe with the
same seeds. Class weights are measured on rows of which five libraries have few, by macro F1.
"""

import json
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from components.data import manifests, versioning
from components.data.tables import read_split, table_info, table_sha256, write_split, write_table_info
from components.models import pretrained
from components.recipes import Finetune, Search, load_recipe
from components.refs import DataRef
from components.settings import Settings, load_settings
from components.tasks import get_task
from components.training import bases
from components.training.device import exact
from components.training.finetuning import finetune
from components.training.search import search

RECIPES = Path(__file__).parents[2] / "flows/recipes"
RARE, NUM_RARE = 5, 6
"""So many libraries have so many rows each, where classes are weighed."""
CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "early stopping": {"validation_share": 0.2, "evaluate_every_steps": 10, "patience_evaluations": 2},
    "augmentation": {"augmentation": {"copies": 2}},
    "mean weights of 3": {"ensemble": {"method": "average_weights", "members": 3}},
    "vote of 3": {"ensemble": {"method": "vote", "members": 3}},
    "search": {},
    "search by score": {},
    "a tenth of the rate: plain": {"learning_rate": 3e-5},
    "a tenth of the rate: search": {"learning_rate": 3e-5},
    "skewed: plain": {},
    "skewed: class weights": {"class_weights": "balanced"},
    "skewed: balanced by augmentation": {"augmentation": {"copies": 0, "balance": True}},
}
BESIDE = {name: f"{name.partition(':')[0]}: plain" if ":" in name else "plain" for name in CHOICES}


def data_of(settings: Settings) -> DataRef:
    ref = manifests.head(settings)
    if ref is None or "library" not in ref.tables:
        ref = versioning.ingest(load_recipe(RECIPES / "demo-data.yaml"), settings=settings, progress=print)
    return ref


def skewed(data: Path, folder: Path) -> Path:
    """The same table with few training rows of some labels."""
    info = table_info(data, "library")
    train = read_split(data, "library", "train")
    rare = set(info.labels[:RARE])
    few = train.groupby("label").head(NUM_RARE)
    kept = pd.concat([train[~train["label"].isin(rare)], few[few["label"].isin(rare)]])
    write_split(folder, "library", "train", kept, task=info.task)
    write_split(folder, "library", "test", read_split(data, "library", "test"), task=info.task)
    write_table_info(folder, "library", task=info.task, labels=info.labels, licences=dict(info.licences))
    return folder


def measure(recipe: Finetune, data: Path, test: pd.DataFrame, settings: Settings) -> dict[str, float]:
    task = get_task(recipe.task)
    weights = bases.weights(recipe, data_dir=data, settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = finetune(recipe, data_dir=data, weights_dir=weights, run_dir=Path(folder))
        seconds = time.perf_counter() - started
        model, tokenizer = pretrained.load_trained(done.model_dir, task=task)
    with exact():
        scored = task.score(task.answer(model, tokenizer, list(test["text"])), test)
    found = task.figures(scored)
    return {
        "accuracy": float(scored["score"].mean()),
        "macro_f1": found["macro_f1"],
        "calibration_error": found["calibration_error"],
        "seconds": seconds,
        "steps": float(done.num_steps),
    }


def main() -> None:
    seeds = range(int(os.environ.get("SEEDS", "3")))
    steps = int(os.environ.get("STEPS", "50"))
    wanted = [name for name in os.environ.get("CHOICES", "").split(",") if name] or list(CHOICES)
    settings = load_settings()
    ref = data_of(settings)
    data = versioning.path_of(ref, settings)
    test = read_split(data, "library", "test").head(int(os.environ.get("TEST_ROWS", "1000")))
    library = load_recipe(RECIPES / "library.yaml").model_dump() | {
        "splits": {"train": 200}, "num_epochs": None, "num_steps": steps, "checkpoint_every_steps": 10_000
    }  # fmt: skip
    points: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        few = skewed(data, Path(folder))
        for name in wanted:
            for seed in seeds:
                recipe = Finetune.model_validate(library | {"seed": seed} | CHOICES[name])
                if name == "early stopping":  # it may stop by itself: so it may also go on for longer
                    recipe = recipe.model_copy(update={"num_steps": 2 * steps})
                more = {}
                if "search" in name:
                    judge = "score" if name == "search by score" else "loss"
                    recipe, more = _searched(recipe, ref, seed, settings, judge=judge)
                found = measure(recipe, few if name.startswith("skewed") else data, test, settings)
                points.setdefault(name, []).append(found | more)
            print(f"{name:<34} {json.dumps(_means(points[name]))}", flush=True)
    result = {name: _means(rows) | _against(points, name) for name, rows in points.items()}
    about = {"seeds": len(seeds), "test_rows": len(test), "table_sha256": table_sha256(data, "library")[:16]}
    print(json.dumps({"choices": result, **about, "torch": version("torch"), "cpus": os.cpu_count()}))


def _searched(
    recipe: Finetune, ref: DataRef, seed: int, settings: Settings, *, judge: str
) -> tuple[Finetune, dict[str, float]]:
    wanted: Search = load_recipe(RECIPES / "search-library.yaml")
    space = {name: span for name, span in wanted.space.items() if name not in {"num_epochs", "num_steps"}}
    wanted = wanted.model_copy(
        update={
            "seed": seed,
            "space": space,
            "judge": judge,
            "max_trials": int(os.environ.get("TRIALS", "6")),
            "minutes": float(os.environ.get("MINUTES", "2")),
        }
    )
    found = search(wanted, recipe, data=ref, settings=settings)
    return found.recipe, {"search_seconds": found.seconds, "trials": float(len(found.trials))}


def _means(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """Figure → mean, least, most over the seeds."""
    names = rows[0]
    return {name: [round(f([row[name] for row in rows]), 4) for f in (statistics.mean, min, max)] for name in names}


def _against(points: dict[str, list[dict[str, float]]], name: str) -> dict[str, Any]:
    """Mean difference to the plain recipe, seed by seed, and its standard error."""
    beside = points.get(BESIDE[name])
    if beside is None or name == BESIDE[name]:
        return {}
    found = {}
    for figure in ("accuracy", "macro_f1"):
        gains = [mine[figure] - its[figure] for mine, its in zip(points[name], beside, strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None
        found[f"{figure}_gain"] = [round(statistics.mean(gains), 4), None if error is None else round(error, 4)]
    return found


if __name__ == "__main__":
    main()
