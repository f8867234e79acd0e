"""Training by preference: it prefers what people prefer, and is as exact as every training."""

import math

import pandas as pd
import pytest
import torch

from components.errors import DataError, MappingError, RecipeError
from components.models.tokenizer import train_bpe
from components.recipes import Preference, parse_recipe
from components.tasks import get_task
from components.training import preference
from components.training.alignment import align
from components.training.preference_rows import COLUMNS

PROMPTS = ["def add(a, b): return a + b", "def mean(v): return sum(v) / len(v)", "def one(): return 1", "def f(): pass"]
GOOD, BAD = "Says what it does.", "No idea at all."


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_bpe([*PROMPTS, GOOD, BAD] * 3, vocab_size=320)
    tokenizer.model_max_length = 96
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(pad_token_id=config.pad_token_id, eos_token_id=config.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe(**changes) -> Preference:
    given = {"name": "liked", "task": "summarisation", "table": "summary", "base": "tiny", "num_steps": 8}
    given |= {"batch_size": 2, "learning_rate": 3e-3, "precision": "fp32", "max_new_tokens": 24, "device": "cpu"}
    given |= {"max_length_tokens": 96, "checkpoint_every_steps": 2, "warmup_share": 0.0}
    return Preference.model_validate(given | changes)


def pairs() -> pd.DataFrame:
    rows = [(f"id{n}", prompt, GOOD, BAD) for n, prompt in enumerate(PROMPTS)]
    return pd.DataFrame(rows, columns=list(COLUMNS["dpo"]))


def thumbs() -> pd.DataFrame:
    rows = [(f"id{n}", prompt, (GOOD, BAD)[n % 2], n % 2 == 0) for n, prompt in enumerate(PROMPTS)]
    return pd.DataFrame(rows, columns=list(COLUMNS["kto"]))


def logprob(folder, prompt: str, answer: str) -> float:
    """log π(answer | prompt), nats."""
    from components.models.pretrained import load_base

    task = get_task("summarisation")
    model, tokenizer = load_base(folder, task=task, labels=(), recipe=recipe())
    model.eval()
    rows = task.rows(pd.DataFrame({"id": ["x"], "text": [prompt], "target": [answer]}), tokenizer, recipe(), ())
    with torch.no_grad():
        return preference.answer_logprobs(model, task.collate(rows, tokenizer.pad_token_id)).item()


def test_dpo_moves_the_margin_towards_what_is_preferred(base, tmp_path):
    trained = align(recipe(), pairs(), weights_dir=base, run_dir=tmp_path / "run")
    for prompt in PROMPTS:
        before = logprob(base, prompt, GOOD) - logprob(base, prompt, BAD)
        after = logprob(trained.model_dir, prompt, GOOD) - logprob(trained.model_dir, prompt, BAD)
        assert after > before + 1
    assert trained.losses[0] == pytest.approx(0.6931, abs=1e-3), "at first the model is the reference: −log σ(0)"
    assert trained.losses[-1] < trained.losses[0]


def test_kto_makes_wanted_answers_likelier_than_unwanted_ones(base, tmp_path):
    trained = align(recipe(method="kto"), thumbs(), weights_dir=base, run_dir=tmp_path / "run")

    def moved(answer: str) -> float:
        return sum(logprob(trained.model_dir, one, answer) - logprob(base, one, answer) for one in PROMPTS)

    assert moved(GOOD) > moved(BAD) + 1


@pytest.mark.parametrize(("method", "rows"), [("dpo", pairs), ("kto", thumbs)])
def test_a_training_that_was_killed_ends_with_the_same_weights(base, tmp_path, method, rows):
    class Killed(Exception): ...

    def kill(progress) -> None:
        if progress.step == 5:
            raise Killed

    chosen = recipe(method=method, num_accumulation_steps=2)
    whole = align(chosen, rows(), weights_dir=base, run_dir=tmp_path / "whole")
    with pytest.raises(Killed):
        align(chosen, rows(), weights_dir=base, run_dir=tmp_path / "killed", on_step=kill)
    steps = []
    resumed = align(
        chosen, rows(), weights_dir=base, run_dir=tmp_path / "killed", on_step=lambda progress: steps.append(progress)
    )
    assert len(steps) < chosen.num_steps, "it went on at a checkpoint"
    assert resumed.weights_sha256 == whole.weights_sha256
    shuffled = rows().sample(frac=1, random_state=1)
    again = align(chosen, shuffled, weights_dir=base, run_dir=tmp_path / "again")
    assert again.weights_sha256 == whole.weights_sha256, "the rows' order in the file does not matter"
    other = align(chosen, rows().iloc[:-1], weights_dir=base, run_dir=tmp_path / "other")
    assert other.lock.key != whole.lock.key, "other rows are another training"


@pytest.mark.parametrize(("method", "rows", "apart"), [("dpo", pairs, 1e-5), ("kto", thumbs, 0.1)])
def test_a_batch_that_does_not_fit_is_divided_between_its_pairs(base, tmp_path, monkeypatch, method, rows, apart):
    """DPO's losses are the same; KTO's are near, whose z₀ is then of fewer rows."""
    chosen = recipe(method=method, batch_size=4)
    whole = align(chosen, rows(), weights_dir=base, run_dir=tmp_path / "whole")
    known, seen = preference.answer_logprobs, []

    def little_memory(model, batch):
        if model.training:
            seen.append(len(batch["input_ids"]))
            if len(batch["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return known(model, batch)

    monkeypatch.setattr(preference, "answer_logprobs", little_memory)
    divided = align(chosen, rows(), weights_dir=base, run_dir=tmp_path / "divided")
    assert seen[:3] == [8, 4, 2], "four pairs, two, one"
    assert divided.losses == pytest.approx(whole.losses, rel=apart)


def test_what_cannot_be_trained_is_refused_with_its_reason(base, tmp_path):
    with pytest.raises(RecipeError, match="does not write"):
        align(recipe(task="classification", max_new_tokens=None), pairs(), weights_dir=base, run_dir=tmp_path)
    with pytest.raises(RecipeError, match="label_smoothing has no effect"):
        parse_recipe(recipe().model_dump() | {"label_smoothing": 0.1})
    with pytest.raises(MappingError, match="no column 'completion'"):
        align(recipe(method="kto"), pairs(), weights_dir=base, run_dir=tmp_path)
    with pytest.raises(DataError, match="nothing to learn from"):
        align(recipe(), pairs().iloc[:0], weights_dir=base, run_dir=tmp_path)


@pytest.mark.parametrize("adaptation", [{"adaptation": "full"}, {"adaptation": "lora", "lora_rank": 2}])
@pytest.mark.parametrize(("method", "rows", "still"), [("dpo", pairs, math.log(2)), ("kto", thumbs, 0.5)])
def test_in_bf16_a_model_that_has_not_moved_is_its_reference(base, tmp_path, adaptation, method, rows, still):
    chosen = recipe(method=method, precision="bf16", num_steps=1, beta=20.0, batch_size=4, **adaptation)
    trained = align(chosen, rows(), weights_dir=base, run_dir=tmp_path / "run")
    assert trained.losses[0] == pytest.approx(still, abs=2e-4)
