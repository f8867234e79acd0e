"""Every task by its recipe: what its model and its plain baseline are worth on the same held-out rows.

    make bench NAME=tasks
    TASKS=entities,code make bench NAME=tasks          # only by these recipes
    PUBLIC=DIR make bench NAME=tasks                   # and public sets: wnut17/, scitldr/, xquad/
    TASKS=code K=10 make bench NAME=tasks              # of code also pass@10, from 20 answers a row drawn at 0.6
    STEPS=4 TEST_ROWS=10 make bench NAME=tasks         # only whether it runs: so many steps and test rows each

Data are built from the pinned assets, or read from the public files; figures have 95 % bootstrap intervals over test
rows. The weights are a function of the recipe and its data, so that the figures repeat on the same kind of machine.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.build import build
from components.data.tables import table_info, table_sha256
from components.errors import BanyanError
from components.evaluation.beside import interval_of_mean
from components.evaluation.evaluate import evaluate, evaluate_baseline, test_rows
from components.evaluation.metrics import interval, summarise
from components.evaluation.on_file import rows_of
from components.models import pretrained
from components.recipes import FileSource, Finetune, load_recipe, parse_recipe
from components.settings import load_settings
from components.tasks import get_task
from components.tasks.base import Task
from components.training import bases
from components.training.device import exact
from components.training.finetuning import finetune, training_rows
from components.training.result import Progress

if TYPE_CHECKING:
    import pandas as pd

RECIPES = Path(__file__).parents[2] / "flows/recipes"


@dataclass(frozen=True)
class Case:
    """A line of the table."""

    name: str
    data: str | dict[str, Any]
    """An ingest recipe: its name, or its content."""
    recipe: str
    fields: dict[str, Any] = field(default_factory=dict)
    """What is another in the recipe."""
    tests: dict[str, FileSource] = field(default_factory=dict)
    """What is measured on in place of the table's own test rows, by what it is called."""


OWN = (
    Case("classification", "demo-data", "library"),
    Case("classification, recurrent from nothing", "demo-data", "library-lstm"),
    Case("classification by a prompt", "demo-data", "library-prompt"),
    Case("multi-label classification", "behaviour-data", "behaviour"),
    Case("entities", "entities-data", "entities"),
    Case("entities by a prompt", "entities-data", "entities-prompt"),
    Case("question answering", "questions-data", "questions"),
    Case("question answering by a prompt", "questions-data", "questions-prompt"),
    Case("regression", "parameters-data", "parameters"),
    Case("summarisation", "demo-data", "summary"),
    Case("summarisation, encoder-decoder from nothing", "demo-data", "summary-scratch"),
    Case("translation", "translation-data", "translation"),
    Case("translation, encoder-decoder from nothing", "translation-data", "translation-scratch"),
    Case("generation", "generation-data", "generation"),
    Case("code", "code-data", "code"),
    Case("dialogue with passages", "dialogue-data", "dialogue"),
)


def public(folder: Path) -> Iterator[Case]:
    """Sets with gold labels, in the files that their authors published: trained on one, measured on another."""
    if (folder / "wnut17").is_dir():
        train, test = (
            source_of(folder / "wnut17" / name, "wnut17", "entities", format="iob2")
            for name in ("wnut17train.conll", "emerging.test.annotated")
        )
        yield Case("entities, WNUT-17", ingest_of(train), "entities", {"table": "wnut17"}, {"test": test})
    if (folder / "scitldr").is_dir():
        train, dev = (
            source_of(folder / "scitldr" / name, "scitldr", "summarisation", columns={"text": "source"})
            for name in ("train.jsonl", "dev.jsonl")
        )
        yield Case(
            "summarisation, SciTLDR", ingest_of(train), "summary", {"table": "scitldr", "max_length_tokens": 448},
            {"dev": dev},
        )  # fmt: skip
    if (folder / "xquad").is_dir():
        english = source_of(folder / "xquad/xquad.en.json", "xquad", "question_answering", format="squad")
        tests = {"XQuAD en": english}
        yield Case("question answering, XQuAD", "questions-data", "questions", {}, tests)
        yield Case("question answering by a prompt, XQuAD", "questions-data", "questions-prompt", {}, tests)


def source_of(path: Path, table: str, task: str, **more: Any) -> FileSource:
    return FileSource(path=path, table=table, task=task, licence="see its publisher", **more)


def ingest_of(source: FileSource) -> dict[str, Any]:
    said = source.model_dump(mode="json", exclude_unset=True) | {"kind": source.kind}
    return {"kind": "ingest", "name": source.table, "sources": [said], "test_share": 0.05, "max_text_chars": 4000}


class Bench:
    """What several cases share is made once: data by their recipe, models by theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = load_settings()
        self.data: dict[str, Path] = {}
        self.models: dict[str, tuple[Path, dict[str, Any]]] = {}

    def measure(self, case: Case) -> dict[str, Any]:
        """Figure → [value, low, high] of model and baseline, and what they were made by."""
        loaded = load_recipe(RECIPES / f"{case.recipe}.yaml")
        recipe = Finetune.model_validate(loaded.model_dump() | case.fields | _smaller(loaded.max_test_rows))
        task, data = get_task(recipe.task), self.built(case)
        model_dir, made_by = self.trained(recipe, data)
        labels = table_info(data, recipe.table).labels
        said: dict[str, Any] = {"recipe": case.recipe, **made_by, "baseline_is": task.baseline_name}
        if not case.tests:
            model = evaluate(
                model_dir, task=recipe.task, data_dir=data, table=recipe.table, max_rows=recipe.max_test_rows
            )
            if recipe.task == "code" and (k := int(os.environ.get("K", "1"))) > 1:
                rows = test_rows(data_dir=data, table=recipe.table, split="test", max_rows=recipe.max_test_rows)
                with exact():
                    said["sampled"] = sampled(*pretrained.load_trained(model_dir, task=task), rows, k=k)
            return said | figures(model, evaluate_baseline(recipe, data_dir=data), task)
        for name, source in case.tests.items():
            rows, rejected = rows_of(source, task)
            rows = rows if recipe.max_test_rows is None else rows.head(recipe.max_test_rows)
            loaded_model, tokenizer = pretrained.load_trained(model_dir, task=task)
            with exact():
                model = task.score(task.answer(loaded_model, tokenizer, list(rows["text"])), rows)
            plain = task.baseline(training_rows(recipe, data_dir=data), rows, labels)
            said |= {"measured_on": name, "rejected": rejected, **figures(model, plain, task)}
        return said

    def built(self, case: Case) -> Path:
        key = json.dumps(case.data, sort_keys=True)
        if key not in self.data:
            recipe = (
                parse_recipe(case.data) if isinstance(case.data, dict) else load_recipe(RECIPES / f"{case.data}.yaml")
            )
            report = build(recipe, settings=self.settings, progress=lambda line: print(f"  {line}", flush=True))
            self.data[key] = report.staging_dir
        return self.data[key]

    def trained(self, recipe: Finetune, data: Path) -> tuple[Path, dict[str, Any]]:
        key = recipe.sha256()
        if key not in self.models:
            started, shown = time.perf_counter(), [time.monotonic()]

            def watch(step: Progress) -> None:
                if time.monotonic() - shown[0] > 20:
                    shown[0] = time.monotonic()
                    print(f"  step {step.step} of {step.num_steps}, loss {step.loss:.3f}", flush=True)

            weights = bases.weights(recipe, data_dir=data, settings=self.settings)
            done = finetune(recipe, data_dir=data, weights_dir=weights, run_dir=self.folder / key[:12], on_step=watch)
            self.models[key] = (
                done.model_dir,
                {
                    "seed": recipe.seed,
                    "num_steps": done.num_steps,
                    "train_seconds": round(time.perf_counter() - started, 1),
                    "table_sha256": table_sha256(data, recipe.table)[:16],
                    "weights_sha256": done.weights_sha256[:16],
                },
            )
        return self.models[key]

    def clean(self) -> None:
        for data in self.data.values():
            shutil.rmtree(data.parent, ignore_errors=True)


def _smaller(max_test_rows: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if steps := os.environ.get("STEPS"):
        fields |= {"num_steps": int(steps), "num_epochs": None}
    if rows := os.environ.get("TEST_ROWS"):
        fields["max_test_rows"] = min(int(rows), max_test_rows or int(rows))
    return fields


def sampled(model: Any, tokenizer: Any, rows: "pd.DataFrame", *, k: int) -> dict[str, Any]:
    """pass@1 and pass@k of 2k answers a row, each with its interval over the rows."""
    found = get_task("code").drawn(model, tokenizer, rows, k=k)
    spans = {
        name: [round(v, 4) for v in (sum(each) / len(each), *interval_of_mean(each))] for name, each in found.items()
    }
    return {"num_samples": 2 * k, **spans}


def figures(model: "pd.DataFrame", plain: "pd.DataFrame", task: Task) -> dict[str, Any]:
    def of(rows: "pd.DataFrame") -> dict[str, list[float]]:
        found, spans = summarise(rows, task), interval(rows, task, num_resamples=400)
        return {name: [round(v, 4) for v in (found[name], *spans[name])] for name in spans if name in found}

    return {"metric": task.metric_name, "num_rows": len(model), "model": of(model), "baseline": of(plain)}


def main() -> None:
    where = os.environ.get("PUBLIC")
    if where and not Path(where).is_dir():
        print(f"PUBLIC={where} is no folder: name the one that holds wnut17/, scitldr/ or xquad/", file=sys.stderr)
        sys.exit(2)
    cases = [*OWN, *(public(Path(where)) if where else ())]
    wanted = [name for name in os.environ.get("TASKS", "").split(",") if name]
    if unknown := [name for name in wanted if not any(case.recipe == name for case in cases)]:
        recipes = ", ".join(dict.fromkeys(case.recipe for case in cases))
        print(f"TASKS: there is no {', '.join(unknown)}; there are {recipes}", file=sys.stderr)
        sys.exit(2)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            for case in cases:
                if not wanted or case.recipe in wanted:
                    print(case.name, flush=True)
                    try:
                        found[case.name] = bench.measure(case)
                    except BanyanError as err:  # the others' figures took an hour
                        found[case.name] = {"error": str(err)}
                    print(f"  {json.dumps(found[case.name])}", flush=True)
        finally:
            bench.clean()
    about = {"torch": version("torch"), "transformers": version("transformers"), "cpus": os.cpu_count()}
    print(json.dumps({"tasks": found, **about}))
    sys.exit(int(any("error" in one for one in found.values())))


if __name__ == "__main__":
    main()
