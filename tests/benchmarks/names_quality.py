"""Precision and recall of masking persons' names by a trained model, on public rows: WNUT-17 (Derczynski et al. 2017).

The model is the recipe `entities` trained on the corpus' own training sentences, as `banyan ingest` and `banyan train`
would; its test sentences, of other years and with other names, are what is masked. A name counts as found where
masking leaves no letter of it; a mask is right where it covers a letter of a name.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

NUM_EPOCHS = int(os.environ.get("NUM_EPOCHS", "3"))
MAX_TRAIN_ROWS = int(os.environ.get("TRAIN_ROWS", "3394"))


def measured(corpus: Path) -> dict[str, Any]:
    """Precision and recall over persons of the test sentences, and what it took."""
    import json

    from components.data.build import build
    from components.models.pretrained import load_trained
    from components.names import PERSON, NameFinder
    from components.recipes import FileSource, Finetune, Ingest, load_recipe
    from components.settings import load_settings
    from components.tasks import get_task
    from components.tasks.entities import read_iob2
    from components.training import bases
    from components.training.finetuning import finetune

    settings = load_settings()
    recipe = load_recipe(Path("flows/recipes/entities.yaml"))
    assert isinstance(recipe, Finetune)
    recipe = recipe.model_copy(
        update={"table": "people", "splits": {"train": MAX_TRAIN_ROWS}, "num_epochs": NUM_EPOCHS}
    )
    source = FileSource(path=corpus / "wnut17train.conll", format="iob2", table="people", task="entities")
    # the corpus has its own test sentences: as little as can be is held back of the training sentences
    ingest = Ingest(name="people", sources=(source,), test_share=0.001)
    task = get_task("entities")
    with tempfile.TemporaryDirectory(prefix="names-") as folder:
        data = build(ingest, settings=settings).staging_dir
        weights = bases.weights(recipe, data_dir=data, settings=settings)
        started = time.perf_counter()
        done = finetune(
            recipe,
            data_dir=data,
            weights_dir=weights,
            run_dir=Path(folder),
            on_step=lambda step: step.step % 100 or print(f"  step {step.step} of {step.num_steps}", flush=True),
        )
        seconds = time.perf_counter() - started
        finder = NameFinder("measured", task, *load_trained(done.model_dir, task=task))
        rows = [
            row for row in read_iob2((corpus / "emerging.test.annotated").read_text("utf-8")) if isinstance(row, dict)
        ]
        spans = [[one for one in json.loads(row["entities"]) if one["type"].casefold() in PERSON] for row in rows]
        texts = [row["text"] for row in rows]
        asked = time.process_time()
        found = finder(texts)
        seconds_asked = time.process_time() - asked
    return _counted(texts, spans, found) | {
        "train_rows": int(done.metrics["num_rows"]),
        "train_seconds": round(seconds, 1),
        "test_rows": len(texts),
        "cpu_milliseconds_per_row": round(seconds_asked / len(texts) * 1e3, 1),
        "weights_sha256": done.weights_sha256[:16],
    }


def _counted(texts: list[str], spans: list[list[dict[str, Any]]], found: list[list[Any]]) -> dict[str, Any]:
    """What masking, with all its other kinds, does to the names; and what it masks as a name that is none."""
    from components.data.privacy import find, with_names

    hit = names = masks = right = 0
    for text, persons, some in zip(texts, spans, found, strict=True):
        masked = with_names([text], [find(text)], [some])[0]
        covered = [any(one.start <= place < one.end for one in masked) for place in range(len(text))]
        for person in persons:
            letters = [place for place in range(person["start"], person["end"]) if not text[place].isspace()]
            names += 1
            hit += all(covered[place] for place in letters)
        for one in masked:
            if one.kind == "NAME":
                masks += 1
                right += any(one.start < person["end"] and person["start"] < one.end for person in persons)
    return {
        "precision": round(right / max(masks, 1), 4),
        "recall": round(hit / max(names, 1), 4),
        "names": names,
        "masks": masks,
    }
