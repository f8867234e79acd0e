"""Where a fine-tuning starts. What a version of this installation gives is tested with a registry, in test_verify."""

from pathlib import Path

import pytest

from components.data import tables
from components.errors import RecipeError
from components.evaluation.evaluate import evaluate
from components.evaluation.metrics import summarise
from components.models.families import load_language_model
from components.models.pretrained import load_base, load_trained
from components.recipes import Finetune, load_recipe, parse_recipe
from components.settings import Settings
from components.tasks import get_task
from components.training import bases
from components.training.finetuning import finetune, take_lock
from components.training.lock import weights_sha256

RECIPES = Path(__file__).parents[3] / "flows/recipes"


@pytest.fixture
def settings(tmp_path):
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")


def fresh(recipe: Finetune, family: str, **fields) -> Finetune:
    shape = {"family": family, "vocab_size": 400, "num_layers": 1, "hidden_size": 32, "dropout": 0.0}
    shape |= {"context_tokens": 4} if family in {"feedforward", "ngram_gpt"} else {}
    return Finetune(**{**recipe.model_dump(), "base": "fresh", "fresh": shape, **fields})


@pytest.fixture
def train(small_data, settings, tmp_path):
    def run(recipe: Finetune, **callbacks):
        weights = bases.weights(recipe, data_dir=small_data, settings=settings)
        return finetune(recipe, data_dir=small_data, weights_dir=weights, run_dir=tmp_path / "run", **callbacks)

    return run


@pytest.mark.parametrize("family", ["rnn", "lstm", "gru", "transformer", "gpt2", "gpt", "bert"])
def test_every_family_learns_to_classify_from_nothing(family, classify, train, small_data):
    fast = {"num_steps": 60, "learning_rate": 1e-2, "precision": "fp32"}
    done = train(fresh(classify, family, **fast))
    model, tokenizer = load_trained(done.model_dir, task=get_task("classification"))
    test = tables.read_split(small_data, "topics", "test")
    answers = get_task("classification").answer(model, tokenizer, list(test["text"]))
    right = sum(answer.output == label for answer, label in zip(answers, test["label"], strict=True))
    assert right >= 10, f"{right} of {len(test)}, and 4 by chance"


@pytest.mark.parametrize("family", ["transformer", "gpt2", "gpt", "feedforward", "ngram_gpt"])
def test_families_that_write_learn_to_write_from_nothing(family, write_lines, train, small_data):
    fast = {"num_steps": 60, "learning_rate": 1e-2, "precision": "fp32", "adaptation": "full", "lora_rank": None}
    steps = []
    done = train(fresh(write_lines, family, **fast), on_step=steps.append)
    assert steps[-1].loss < 0.2 * steps[0].loss
    model, tokenizer = load_trained(done.model_dir, task=get_task("summarisation"))
    test = tables.read_split(small_data, "lines", "test")
    answers = get_task("summarisation").answer(model, tokenizer, list(test["text"]))
    assert {answer.output for answer in answers} <= set(test["target"])  # which of them takes longer to learn


@pytest.mark.parametrize(("family", "rate"), [("rnn", 3e-3), ("lstm", 1e-2), ("gru", 1e-2)])
def test_recurrent_families_learn_more_slowly_what_is_written_and_answer(family, rate, write_lines, train, small_data):
    fast = {"num_steps": 60, "learning_rate": rate, "precision": "fp32", "adaptation": "full", "lora_rank": None}
    steps = []
    done = train(fresh(write_lines, family, **fast), on_step=steps.append)
    assert steps[-1].loss < 0.45 * steps[0].loss
    model, tokenizer = load_trained(done.model_dir, task=get_task("summarisation"))
    assert model.generation_config.max_new_tokens == write_lines.max_new_tokens
    test = tables.read_split(small_data, "lines", "test")
    answers = get_task("summarisation").answer(model, tokenizer, list(test["text"]))
    assert all(0 < answer.confidence <= 1 for answer in answers)


def test_the_recipe_of_summaries_from_nothing_trains_an_encoder_decoder_that_is_measured(train, small_data):
    recipe = load_recipe(RECIPES / "summary-scratch.yaml")
    few = {"table": "lines", "num_epochs": None, "num_steps": 2, "max_new_tokens": 4, "max_test_rows": 3}
    done = train(Finetune.model_validate(recipe.model_dump() | few))
    model, _ = load_trained(done.model_dir, task=get_task("summarisation"))
    assert model.config.is_encoder_decoder
    rows = evaluate(done.model_dir, task="summarisation", data_dir=small_data, table="lines", max_rows=3)
    assert len(rows) == 3
    assert set(summarise(rows, get_task("summarisation"))) >= {"rougeL", "rouge1", "rouge2", "length_ratio"}


def test_a_fresh_base_is_the_same_wherever_it_is_made(classify, small_data, tmp_path):
    recipe = fresh(classify, "lstm")
    made = [
        bases.weights(recipe, data_dir=small_data, settings=Settings(BANYAN_WORKSPACE=tmp_path / place))
        for place in ("here", "there")
    ]
    assert made[0] != made[1]
    assert weights_sha256(made[0]) == weights_sha256(made[1])
    assert (made[0] / "tokenizer.json").read_bytes() == (made[1] / "tokenizer.json").read_bytes()


def test_another_seed_or_shape_is_another_base(classify, small_data, settings):
    found = {
        weights_sha256(bases.weights(recipe, data_dir=small_data, settings=settings))
        for recipe in (fresh(classify, "gru"), fresh(classify, "gru", seed=1), fresh(classify, "rnn"))
    }
    assert len(found) == 3


def test_the_lock_knows_what_a_fresh_base_is_made_by(classify, small_data, settings):
    recipe = fresh(classify, "gru")
    weights = bases.weights(recipe, data_dir=small_data, settings=settings)
    lock = take_lock(recipe, data_dir=small_data, weights_dir=weights)
    assert lock.parent == weights_sha256(weights)
    assert any(name.startswith("components.models.fresh") for name in lock.modules)
    load_language_model(weights)  # it is a model like any other


def test_a_recurrence_has_no_linear_map_for_adapters_and_says_so(write_lines, small_data, settings):
    shape = fresh(write_lines, "lstm", adaptation="full", lora_rank=None)
    weights = bases.weights(shape, data_dir=small_data, settings=settings)
    with pytest.raises(RecipeError, match="nothing to adapt"):
        load_base(weights, task=get_task("summarisation"), labels=(), recipe=write_lines)


@pytest.mark.parametrize(
    "fields,reason",
    [
        ({"base": "fresh"}, "fresh goes with base: fresh"),
        ({"fresh": {"family": "lstm"}}, "fresh goes with base: fresh"),
        ({"base": "fresh", "fresh": {"family": "lstm", "num_heads": 2}}, "lstm has no attention"),
        ({"base": "fresh", "fresh": {"family": "lstm"}, "adaptation": "lora", "lora_rank": 2}, "trained whole"),
        ({"base": "banyan-gpt@0"}, "banyan-gpt@2"),
        ({"base": "../elsewhere"}, "name an asset"),
    ],
)
def test_a_base_that_makes_no_sense_is_refused(fields, reason, classify):
    with pytest.raises(RecipeError, match=reason):
        parse_recipe({**classify.model_dump(), **fields})


def test_a_family_that_cannot_take_the_tasks_head_is_refused_before_anything_is_made(classify, settings):
    answers = fresh(classify, "lstm").model_copy(update={"task": "question_answering"})
    with pytest.raises(RecipeError, match="lstm: task question_answering needs a span"):
        bases.weights(answers, data_dir=settings.workspace.root, settings=settings)
