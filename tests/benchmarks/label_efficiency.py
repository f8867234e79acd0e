"""What pretraining is worth: quality by number of labels, and on rows of a kind that no label was of.

    make bench NAME=label_efficiency
    SIZES=50,200 SEEDS=2 TEST_ROWS=200 TASKS=kind BASES=pretrained,lstm make bench NAME=label_efficiency

Two tasks out of the pinned packages, gold by construction. `library`: which of eight libraries a docstring's paragraph
is of; out of domain are subpackages that no training row is of. `kind`: whether a docstring is a class's, a
function's or a method's; out of domain are two libraries that no training row is of. MiniLM, fine-tuned,
beside the same shape from nothing, an LSTM from nothing, and TF-IDF with logistic regression; the same rows and seeds.

The result is kept in the workspace (BANYAN_WORKSPACE) for the dashboard's evolution page.
"""

import ast
import json
import os
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from components import assets
from components.data.cleaning import clean_prose, kept, strip_markup
from components.data.sources import Enough, read_packages
from components.data.tables import content_id, read_split, table_info, table_sha256, write_split, write_table_info
from components.evaluation.curves import LABEL_EFFICIENCY, keep
from components.models import pretrained
from components.recipes import Finetune
from components.settings import Settings, load_settings
from components.tasks import get_task
from components.training import bases
from components.training.device import exact
from components.training.finetuning import finetune, training_rows
from components.training.seeds import derive

PACKAGES = ("networkx", "sympy", "django", "nltk", "keras", "cirq", "mne", "twisted")
HELD_OUT_LIBRARIES = ("keras", "twisted")
"""Of `kind`."""
MAX_CHARS = 300
ROWS_OF_A_LABEL = 500
FILES_OF_A_PACKAGE = 250

BASE: dict[str, Any] = {
    "task": "classification", "batch_size": 16, "max_length_tokens": 64, "optimizer": "adamw", "weight_decay": 0.01,
    "schedule": "linear", "warmup_share": 0.1, "checkpoint_every_steps": 10_000,
}  # fmt: skip
STEPS = {"pretrained": (30, 0.12), "same shape": (30, 0.12), "lstm": (120, 0.75)}
"""So many, and so many more for each row: the small model is given its many passes."""
SHAPES: dict[str, dict[str, Any]] = {
    "pretrained": {"base": "minilm", "learning_rate": 3e-4, "precision": "bf16"},
    "same shape": {
        "base": "fresh", "learning_rate": 3e-4, "precision": "bf16",
        "fresh": {"family": "bert", "vocab_size": 4096, "num_layers": 6, "num_heads": 12, "hidden_size": 384},
    },
    "lstm": {
        "base": "fresh", "learning_rate": 3e-3, "precision": "fp32", "weight_decay": 0.05, "schedule": "cosine",
        "fresh": {"family": "lstm", "vocab_size": 4096, "num_layers": 1, "hidden_size": 128, "dropout": 0.3},
    },
}  # fmt: skip


# ---------------------------------------------------------------- rows


def _domain(group: str) -> str:
    """The subpackage that a file is of."""
    return "/".join(group.split("/")[:2])


def library_rows(settings: Settings) -> pd.DataFrame:
    """text, label, group; `is_other`: of a subpackage that is not trained on."""
    enough = Enough(num_descriptions=2 * ROWS_OF_A_LABEL, num_functions=0, num_chars=0)
    texts = read_packages(PACKAGES, settings=settings, max_chars=MAX_CHARS, enough=enough, seed=0)
    found = [(row.text, row.answer, row.group) for row in kept(texts.descriptions) if 20 <= len(row.text) <= MAX_CHARS]
    frame = pd.DataFrame(found, columns=["text", "label", "group"])
    # a fifth of each library's subpackages, drawn by their names; files that lie at a library's top stay
    frame["is_other"] = [
        group.count("/") > 1 and derive(0, "held out", _domain(group)) % 5 == 0 for group in frame["group"]
    ]
    return frame


def kind_rows(settings: Settings) -> pd.DataFrame:
    """The same of kinds of definitions; their own names, and words that say the kind, are not in the text."""
    rows = []
    for package in PACKAGES:
        folder = assets.unpack(package, settings=settings)
        paths = sorted(folder.rglob("*.py"), key=lambda path: derive(0, path.relative_to(folder).as_posix()))
        for path in paths[:FILES_OF_A_PACKAGE]:
            group = f"{package}/{path.relative_to(folder).as_posix()}"
            if re.search(r"(^|/)(tests?|testing|conftest|_?vendor)(/|\.py$|_)", group):
                continue
            try:
                code = ast.parse(path.read_text("utf-8", "replace"))
            except (SyntaxError, ValueError):
                continue
            rows += [(text, label, group) for text, label in _definitions(code)]
    frame = pd.DataFrame(rows, columns=["text", "label", "group"])
    frame["is_other"] = [group.partition("/")[0] in HELD_OUT_LIBRARIES for group in frame["group"]]
    return frame


def _definitions(code: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(code):
        if not isinstance(node, ast.Module | ast.ClassDef):
            continue
        for child in node.body:
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text = strip_markup(clean_prose((ast.get_docstring(child) or "").partition("\n\n")[0]))
            text = re.sub(rf"(?i)\b({re.escape(child.name)}|class|method|function|exception|self)\b", "[…]", text)
            if 20 <= len(text) <= MAX_CHARS:
                yield " ".join(text.split()), _kind(child, node)


def _kind(child: ast.AST, parent: ast.AST) -> str:
    if isinstance(child, ast.ClassDef):
        return "class"
    return "method" if isinstance(parent, ast.ClassDef) else "function"


TASKS = {"library": library_rows, "kind": kind_rows}


def table(name: str, folder: Path, *, num_test: int, settings: Settings) -> Path:
    """A data version's folder: splits train, test (of the same domain) and other (of no training row's)."""
    frame = TASKS[name](settings)
    frame["id"] = [content_id(text) for text in frame["text"]]
    frame = frame.drop_duplicates("id").sort_values("id")  # ids are hashes: the first are drawn
    other = frame[frame["is_other"]].groupby("label").head(ROWS_OF_A_LABEL)
    own = frame[~frame["is_other"]].groupby("label").head(ROWS_OF_A_LABEL)
    is_test = own["group"].map(lambda group: derive(0, "test", group) % 4 == 0).astype(bool)  # whole files
    splits = {
        "train": own[~is_test],
        "test": own[is_test].head(num_test),
        "other": other.groupby("label").head(num_test // 3),
    }
    for split, rows in splits.items():
        rows = rows.assign(source=name, licence="see assets.toml", origin="provenance", imputed="")
        write_split(folder, name, split, rows, task="classification")
    write_table_info(folder, name, task="classification", labels=set(frame["label"]), licences={})
    return folder


# ---------------------------------------------------------------- one training


def recipe_of(name: str, base: str, size: int, seed: int) -> Finetune:
    least, more = STEPS[base]
    fields = BASE | SHAPES[base] | {"num_steps": round(least + more * size), "splits": {"train": size}}
    return Finetune(name=f"{name}-{size}", table=name, seed=seed, **fields)


def accuracies(recipe: Finetune, data: Path, frames: dict[str, pd.DataFrame], settings: Settings) -> dict[str, float]:
    """Split → accuracy of the recipe's model, and its training's seconds."""
    task = get_task("classification")
    weights = bases.weights(recipe, data_dir=data, settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = finetune(recipe, data_dir=data, weights_dir=weights, run_dir=Path(folder))
        found = {"seconds": time.perf_counter() - started}
        model, tokenizer = pretrained.load_trained(done.model_dir, task=task)
    for split, rows in frames.items():
        with exact():
            answers = task.answer(model, tokenizer, list(rows["text"]))
        found[split] = float(task.score(answers, rows)["score"].mean())
    return found


def plain(recipe: Finetune, data: Path, frames: dict[str, pd.DataFrame], labels: tuple[str, ...]) -> dict[str, float]:
    train = training_rows(recipe, data_dir=data)
    baseline = get_task("classification").baseline
    return {split: float(baseline(train, rows, labels)["score"].mean()) for split, rows in frames.items()}


# ---------------------------------------------------------------- all of it


def main() -> None:
    sizes = [int(size) for size in os.environ.get("SIZES", "50,200,800").split(",")]
    seeds = range(int(os.environ.get("SEEDS", "5")))
    num_test = int(os.environ.get("TEST_ROWS", "400"))
    names = os.environ.get("TASKS", "library,kind").split(",")
    bases_ = os.environ.get("BASES", "pretrained,same shape,lstm").split(",")
    settings = load_settings()
    points: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            data = table(name, Path(folder), num_test=num_test, settings=settings)
            frames = {split: read_split(data, name, split) for split in ("test", "other")}
            labels = table_info(data, name).labels
            train = read_split(data, name, "train")
            about[name] = {
                "table_sha256": table_sha256(data, name)[:16], "labels": list(labels), "train_rows": len(train),
                **{f"{split}_rows": len(rows) for split, rows in frames.items()},
                "chance": {s: max(Counter(rows["label"]).values()) / len(rows) for s, rows in frames.items()},
            }  # fmt: skip
            print(f"{name}: {json.dumps(about[name])}", flush=True)
            for size in sizes:
                for seed in seeds:
                    for base in bases_:
                        recipe = recipe_of(name, base, size, seed)
                        found = accuracies(recipe, data, frames, settings)
                        points.append({"task": name, "base": base, "rows": size, "seed": seed, **found})
                    found = plain(recipe_of(name, "pretrained", size, seed), data, frames, labels)
                    points.append({"task": name, "base": "tf-idf", "rows": size, "seed": seed, **found})
                for base in [*bases_, "tf-idf"]:
                    print(f"  {size:>4} rows  {base:<12} {_line(points, name, base, size)}", flush=True)
    result = {"label_efficiency": summary(points), "points": points, "tables": about, "seeds": len(seeds),
              "torch": version("torch"), "cpus": os.cpu_count()}  # fmt: skip
    keep(LABEL_EFFICIENCY, result, settings=settings)
    print(json.dumps({name: value for name, value in result.items() if name != "points"}))


def _line(points: list[dict[str, Any]], name: str, base: str, size: int) -> str:
    mine = [p for p in points if (p["task"], p["base"], p["rows"]) == (name, base, size)]
    parts = [f"{split} {statistics.mean(p[split] for p in mine):.3f}" for split in ("test", "other")]
    seconds = [p["seconds"] for p in mine if "seconds" in p]
    return ", ".join(parts) + (f", {statistics.mean(seconds):.1f} s a training" if seconds else "")


def summary(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Task, base, rows → mean, least and most accuracy over the seeds, of the own domain and of the other."""
    keys = dict.fromkeys((p["task"], p["base"], p["rows"]) for p in points)
    found = []
    for key in keys:
        mine = [p for p in points if (p["task"], p["base"], p["rows"]) == key]
        row: dict[str, Any] = dict(zip(("task", "base", "rows"), key, strict=True))
        for split in ("test", "other"):
            values = [p[split] for p in mine]
            row[split] = [round(value, 4) for value in (statistics.mean(values), min(values), max(values))]
        found.append(row)
    return found


if __name__ == "__main__":
    main()
