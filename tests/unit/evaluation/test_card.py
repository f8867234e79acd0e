"""The model card, of a training whose figures are known."""

from datetime import UTC, datetime

import pandas as pd
import pytest

from components.data.manifests import Manifest, SplitSummary
from components.data.packing import Packed, PackedSplit
from components.data.tables import TableInfo
from components.evaluation.card import card_of
from components.evaluation.parity import Parity
from components.evaluation.scores import Scores
from components.recipes import Finetune, Pretrain
from components.refs import DataRef
from components.training.run import TrainingRun
from components.training.search import Found, Trial

TUNED = Finetune(
    name="topics", task="classification", table="topics", base="minilm", num_steps=6, learning_rate=0.01, seed=7
)
ESTIMATED = 4500.0
"""Joules."""
PRETRAINED = Pretrain(name="corpus", num_steps=6, learning_rate=0.01)


def scored(tmp_path, name, scores):
    path = tmp_path / f"{name}.parquet"
    rows = {"id": [str(i) for i in range(len(scores))], "score": scores, "prediction": "a", "target": "a"}
    pd.DataFrame(rows).assign(top3=1.0, confidence=0.9).to_parquet(path)
    return Scores(path=path, metrics={"accuracy": sum(scores) / len(scores), "num_examples": float(len(scores))})


@pytest.fixture
def card(tmp_path):
    def make(
        recipe,
        scores=None,
        baseline=None,
        parity=None,
        energy=(ESTIMATED, "estimate: 4 cores"),
        search=None,
        packed=None,
        metrics=None,
        **lock,
    ):
        known = {"parent": "p" * 64, "dirty": "", "key": "k" * 64, "recipe": "r" * 64, "code": "c" * 64}
        known |= {"revision": "abc", "seed": 7, "threads": 2, "device": "cpu", **lock}
        run = TrainingRun(
            model="banyan-topics", run_id="1", run_dir=tmp_path, weights_sha256="w" * 64, lock=known,
            metrics=metrics or {"heldout_loss": 2.5}, num_steps=6, seconds=3600.0, sample="def f",
            energy_joules=energy[0], energy_source=energy[1],
        )  # fmt: skip
        rows = {"train": SplitSummary(total=24, sources={}, labels={})}
        ref = DataRef(version="d" * 32, tables={recipe.table: "t" * 64})
        manifest = Manifest(
            ref=ref, name="x", created_at=datetime(2026, 1, 1, tzinfo=UTC), pointer="", rows={recipe.table: rows}
        )
        licences = {"sympy": "BSD-3-Clause"}
        labels = ("graphs", "waves") if recipe is TUNED else ()
        info = TableInfo(task="classification", labels=labels, columns=("text",), licences=licences)
        return card_of(
            recipe,
            run=run,
            manifest=manifest,
            info=info,
            scores=scores,
            baseline=baseline,
            parity=parity,
            search=search,
            packed=packed,
        )

    return make


def test_it_says_all_that_somebody_needs_who_would_use_it(card, tmp_path):
    text = card(TUNED, scored(tmp_path, "mine", [1.0] * 60 + [0.0] * 40), scored(tmp_path, "base", [0.0, 1.0] * 50))
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["Intended use", "What it is worth", "Data", "Made of", "Recipe", "Energy", "Limits"]
    assert "graphs, waves" in text and "sympy: BSD-3-Clause" in text and "k" * 64 in text
    assert "learning_rate: 0.01" in text and "seed: 7" in text


def test_only_a_model_on_a_public_base_is_said_to_have_one(card):
    fresh = {"family": "transformer", "vocab_size": 300, "num_layers": 1, "num_heads": 2, "hidden_size": 8}
    of_nothing = Finetune.model_validate(TUNED.model_dump() | {"base": "fresh", "fresh": fresh})
    for recipe, has_public_base in [
        (TUNED, True),
        (of_nothing, False),
        (TUNED.model_copy(update={"base": "gpt@2"}), False),
    ]:
        assert ("base weights are public" in card(recipe)) is has_public_base
        assert ("on the card of `gpt@2`" in card(recipe)) is (recipe.base == "gpt@2")
        assert "inputs like those of the test split" in card(recipe)


def test_what_the_parity_gate_found_stands_with_its_tolerance(card):
    found = Parity(
        engine="torch", precision="float32", passed=True, num_probes=112, num_values=900, largest=7.5e-7, mean=2.3e-8,
        tolerance=1e-3, mean_tolerance=1e-4,
    )  # fmt: skip
    text = card(TUNED, parity={"torch": found})
    line = next(line for line in text.splitlines() if line.startswith("| torch"))
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "torch", "float32", "112", "7.5e-07 of 0.001", "2.3e-08 of 0.0001", "passed",
    ]  # fmt: skip
    assert "differences of probabilities" in text
    assert "## Parity" not in card(TUNED), "a version that was registered without has no such part"


def test_figures_stand_with_their_interval_beside_the_baseline(card, tmp_path):
    mine, base = scored(tmp_path, "mine", [1.0] * 60 + [0.0] * 40), scored(tmp_path, "base", [0.0, 1.0] * 50)
    line = next(line for line in card(TUNED, mine, base).splitlines() if line.startswith("| accuracy"))
    value, other = (cell.strip() for cell in line.split("|")[2:4])
    assert value.startswith("0.6 (0.5") and other.startswith("0.5 (0.")
    assert "accuracy is +0.1 (-0.0" in card(TUNED, mine, base), "paired: the difference has an interval of its own"


def test_energy_is_what_the_run_counted_whatever_one_workers_threads(card):
    text = card(PRETRAINED, threads=2)
    assert "About 1.25 Wh for 3600 s" in text and "**estimate**" in text.lower() and "measured: 4 cores" in text
    measured = card(PRETRAINED, energy=(7200.0, "rapl: whole processor packages + nvml: 2 boards"))
    assert "2 Wh for 3600 s of training, by rapl: whole processor packages + nvml: 2 boards" in measured
    assert "stimate" not in measured
    assert "## Energy" not in card(PRETRAINED, energy=(None, "")), "a run of before it was counted"


def test_a_pretrained_model_has_no_figures_of_a_test_split(card):
    text = card(PRETRAINED)
    assert "On held-out text" in text and "heldout_loss | 2.5" in text
    assert "95 %" not in text and "def f" in text, "of a run of before intervals were taken"


def test_a_pretrained_model_has_its_interval_and_what_counting_tokens_comes_to(card):
    known = {"heldout_loss": 2.5, "heldout_loss_low": 2.4, "heldout_loss_high": 2.6, "baseline_loss": 5.0}
    text = card(PRETRAINED, metrics=known | {"bits_per_byte": 1.25, "num_rows": 9.0})
    assert "| | this model | counting tokens |" in text
    assert "| heldout_loss | 2.5 (2.4 to 2.6) | 5 |" in text
    assert "| bits_per_byte | 1.25 (1.2 to 1.3) | 2.5 |" in text
    assert "| num_rows | 9 |  |" in text and "95 % intervals, by resampling the held-out rows" in text
    assert "_low" not in text.partition("## What it is worth")[2].partition("##")[0]


def test_a_packed_corpus_does_not_pass_for_one_whose_licences_are_known(card):
    splits = {name: PackedSplit(documents=3, tokens=90, sha256="5" * 64) for name in ("train", "heldout")}
    packed = Packed(name="web", dtype="<u2", end_id=0, vocab_size=300, tokenizer_sha256="7" * 64, splits=splits)
    text = card(PRETRAINED, packed=packed)
    assert "90 tokens of 3 documents train" in text and "Licences: not stated" in text
    assert "Licences: not stated" not in card(PRETRAINED) and "BSD-3-Clause" in card(PRETRAINED)


def test_a_batch_that_did_not_fit_is_told(card):
    assert "micro-batches in 2 parts from step 4 on" in card(PRETRAINED, division={"step 4": 2})
    assert "did not fit" not in card(PRETRAINED)


def test_a_control_is_of_no_use_and_says_so(card):
    control = TUNED.model_copy(update={"role": "control"})
    assert "## Intended use\n\nNone" in card(control)


def test_what_a_search_has_tried_stands_beside_what_it_chose(card, tmp_path):
    tried = [
        Trial(number=0, fields={"learning_rate": 0.02, "warmup_share": 0.1}, state="stopped", loss=1.25, seconds=4),
        Trial(number=1, fields={"learning_rate": 0.01, "warmup_share": 0.2}, state="finished", loss=0.5, seconds=9),
        Trial(number=2, fields={"learning_rate": 3.0}, state="failed", loss=None, seconds=1),
        Trial(number=3, fields={"learning_rate": 0.03, "warmup_share": 0.1}, state="finished", loss=0.75, seconds=9),
    ]
    found = Found(
        recipe=TUNED, best=tried[1], trials=tuple(tried), validation_rows=40, seconds=23, path=tmp_path / "search.json"
    )
    text = card(TUNED, search=found)
    [section] = [part for part in text.split("\n## ") if part.startswith("Search")]
    assert section.strip().splitlines()[-6:] == [
        "| trial | learning_rate | warmup_share | held-out loss | | seconds |",
        "|---|---|---|---|---|---|",
        "| 1 | 0.01 | 0.2 | 0.5000 | **chosen** | 9 |",
        "| 3 | 0.03 | 0.1 | 0.7500 | finished | 9 |",
        "| 0 | 0.02 | 0.1 | 1.2500 | pruned | 4 |",
        "| 2 | 3 |  |  | failed | 1 |",
    ]
    assert "4 short trainings" in section and "40 training rows" in section
    assert "## Search" not in card(TUNED)
