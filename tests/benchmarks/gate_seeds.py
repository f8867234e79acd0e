"""The gate over fine-tunings of MiniLM that differ in their seed alone: what `gate` does for heads, on real trainings.

Each is the demo's recipe `library`, cut to SEED_ROWS (400) rows and SEED_EPOCHS (3) epochs: thirty take minutes;
the seed draws the rows, their order and the new head. A version's worth is known: the rows of `test` and `reserve`,
which none trains on, are the population, and test sets are drawn from them.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components import assets
from components.data import versioning
from components.models.pretrained import load_trained
from components.recipes import Finetune, load_recipe
from components.settings import load_settings
from components.tasks import get_task
from components.training.finetuning import finetune
from tests.benchmarks.heads import ROOT, Rows

NUM_ROWS = int(os.environ.get("SEED_ROWS", "400"))
NUM_EPOCHS = int(os.environ.get("SEED_EPOCHS", "3"))
NUM_STREAMS = 200
STREAM = 20


def trained(num_seeds: int, rows: Rows) -> list[np.ndarray]:
    """Per seed: (population,) whether its model is right on each row."""
    settings = load_settings()
    ref = versioning.head(settings)
    assert ref is not None
    data_dir = versioning.path_of(ref, settings)
    weights_dir = assets.weights("minilm", settings=settings)
    recipe = load_recipe(ROOT / "flows" / "recipes" / "library.yaml")
    assert isinstance(recipe, Finetune)
    cut = {"splits": {"train": NUM_ROWS}, "num_epochs": NUM_EPOCHS, "checkpoint_every_steps": 1_000_000}
    population = pd.concat([rows.frames["test"], rows.frames["reserve"]], ignore_index=True)
    task, found = get_task(recipe.task), []
    for seed in range(num_seeds):
        with tempfile.TemporaryDirectory(prefix="banyan-seed-") as scratch:
            one = Finetune.model_validate(recipe.model_dump() | cut | {"seed": seed})
            finetune(one, data_dir=data_dir, weights_dir=weights_dir, run_dir=Path(scratch))
            model, tokenizer = load_trained(Path(scratch) / "model", task=task)
            answers = task.answer(model, tokenizer, list(population["text"]))
        right = np.array([answer.output for answer in answers]) == population["label"].to_numpy(str)
        print(f"  seed {seed}: {100 * right.mean():.2f} % of {len(right)} rows", flush=True)
        found.append(right)
    return found


def measure(right: list[np.ndarray], gates: dict[str, Any], run: Any, *, num_test_rows: int) -> dict[str, Any]:
    """Each gate on every ordered pair of seeds, standing alone, and on streams of seeds in a random order."""
    rng = np.random.default_rng(0)
    population = len(right[0])
    pairs = [(i, j) for i in range(len(right)) for j in range(len(right)) if i != j]
    false, any_at_all, in_streams = (dict.fromkeys(gates, 0) for _ in range(3))
    for i, j in pairs:
        sample = rng.integers(0, population, num_test_rows)
        for name, may in gates.items():
            said = bool(may(right[j], right[i], sample, []))
            any_at_all[name] += said
            false[name] += said and right[j].sum() <= right[i].sum()
    for _ in range(NUM_STREAMS):
        order = rng.permutation(len(right))[: STREAM + 1]
        sample = rng.integers(0, population, num_test_rows)
        for name, may in gates.items():
            events = run([right[k] for k in order], sample, may)
            in_streams[name] += any(event["is_false"] for event in events)
    accuracy = [float(one.mean()) for one in right]
    return {
        "seeds": len(right),
        "seed_pairs": len(pairs),
        "seed_false_promotion_rate": {name: round(float(count / len(pairs)), 4) for name, count in false.items()},
        "seed_promotion_rate": {name: round(count / len(pairs), 4) for name, count in any_at_all.items()},
        "seed_streams": NUM_STREAMS,
        "seed_challengers_per_stream": min(STREAM, len(right) - 1),
        "seed_stream_false_promotion_rate": {name: count / NUM_STREAMS for name, count in in_streams.items()},
        "seed_accuracy": [round(one, 4) for one in accuracy],
        "seed_accuracy_deviation_points": round(100 * float(np.std(accuracy, ddof=1)), 2),
        "seed_rows": NUM_ROWS,
        "seed_epochs": NUM_EPOCHS,
    }
