import json
import shutil
from pathlib import Path

import pytest
import torch

from components.data import tables
from components.errors import DataError, MappingError, NonFiniteLoss, RecipeError
from components.models.pretrained import load_base, load_trained
from components.recipes import Finetune, parse_recipe
from components.tasks import get_task
from components.training.finetuning import finetune, split_off, training_rows


@pytest.fixture
def train(small_data, small_bert, small_llama, tmp_path):
    def run(recipe, folder="run", **callbacks):
        weights = small_bert if recipe.task == "classification" else small_llama
        return finetune(recipe, data_dir=small_data, weights_dir=weights, run_dir=tmp_path / folder, **callbacks)

    return run


def changed(recipe, **fields):
    return Finetune(**{**recipe.model_dump(), **fields})


def test_it_learns_and_leaves_a_folder_that_answers(train, classify, small_data):
    steps = []
    done = train(changed(classify, num_steps=30), on_step=steps.append)
    assert [p.step for p in steps] == list(range(1, 31))
    assert steps[-1].loss < 0.5 * steps[0].loss
    model, tokenizer = load_trained(done.model_dir, task=get_task("classification"))
    test = tables.read_split(small_data, "topics", "test")
    answers = get_task("classification").answer(model, tokenizer, list(test["text"]))
    assert [answer.output for answer in answers] == list(test["label"])


def test_the_folder_says_how_long_texts_and_answers_may_be(train, write_lines):
    model, tokenizer = load_trained(train(write_lines).model_dir, task=get_task("summarisation"))
    assert (tokenizer.model_max_length, model.generation_config.max_new_tokens) == (64, 8)


def test_called_again_when_done_it_trains_nothing(train, classify):
    first = train(classify)
    again = train(classify, on_step=lambda progress: pytest.fail("a step was done"))
    assert again.weights_sha256 == first.weights_sha256
    assert again.resumed_from == classify.num_steps
    assert not (first.model_dir.parent / "checkpoints").exists()


def test_a_finished_model_that_was_damaged_is_trained_again(train, classify):
    first = train(classify)
    weights = first.model_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    assert train(classify).weights_sha256 == first.weights_sha256


def test_adapters_are_merged_into_the_weights(train, write_lines, small_llama):
    from safetensors import safe_open

    done = train(write_lines)
    with (
        safe_open(done.model_dir / "model.safetensors", "pt") as ours,
        safe_open(small_llama / "model.safetensors", "pt") as base,
    ):
        assert set(ours.keys()) == set(base.keys())
        name = "model.layers.0.self_attn.q_proj.weight"
        assert not ours.get_tensor(name).equal(base.get_tensor(name))
    assert not list(done.model_dir.glob("*adapter*"))


EFFECTS = {
    "num_steps": 5,
    "batch_size": 3,
    "num_accumulation_steps": 2,
    "max_length_tokens": 4,
    "optimizer": "sgd",
    "learning_rate": 2e-2,
    "weight_decay": 0.5,
    "schedule": "constant",
    "warmup_share": 0.9,
    "max_gradient_norm": 0.01,
    "precision": "fp32",
    "seed": 1,
    "validation_share": 0.3,
    "splits": {"train": 10},
    "l1": 1e-2,
    "label_smoothing": 0.2,
    "averaging": "ema",
    "ema_decay": 0.1,
    "swa_share": 0.5,
    "decay_share": 0.9,
    "momentum": 0.5,
    "table_learning_rate": 3e-4,
    "class_weights": "balanced",
    "dropout": 0.3,
}
WITH = {
    "averaging": {"ema_decay": 0.9},
    "ema_decay": {"averaging": "ema", "ema_decay": 0.9},
    "swa_share": {"averaging": "swa", "swa_share": 1.0},
    "decay_share": {"schedule": "wsd", "decay_share": 0.1},
    "momentum": {"optimizer": "sgd"},
    "table_learning_rate": {"optimizer": "muon"},
    "class_weights": {"splits": {"train": 11}},  # of two labels: one has more rows
}
"""What stands beside a field that goes with another; all but `averaging` are compared with these alone."""


@pytest.mark.parametrize("field", EFFECTS)
def test_every_field_that_shapes_weights_has_its_effect(field, train, classify):
    beside = WITH.get(field, {})
    plain = train(changed(classify, **({} if field == "averaging" else beside)), "plain").weights_sha256
    assert train(changed(classify, **(beside | {field: EFFECTS[field]})), "other").weights_sha256 != plain


def test_no_training_field_is_left_without_a_test_of_its_effect():
    tested = set(EFFECTS) | {"num_epochs", "checkpoint_every_steps", "evaluate_every_steps", "device"}
    tested |= {"patience_evaluations", "gradient_checkpointing"}  # test_loop.py
    tested |= {"augmentation"}  # tests/invariant/test_augmentation_stays_in_training.py
    tested |= {"fresh", "ensemble"}  # test_bases.py, test_ensembles.py
    tested |= {"keep_adapters"}  # tests/unit/models/test_adapters.py
    about = {"kind", "name", "task", "table", "base", "role", "max_test_rows", "max_new_tokens"}
    assert set(Finetune.model_fields) - about - {"adaptation", "lora_rank"} == tested


@pytest.mark.parametrize("adaptation", [{"adaptation": "full"}, {"adaptation": "lora", "lora_rank": 2}])
def test_dropout_is_that_of_the_recipe_and_unsaid_it_changes_no_hash(train, classify, adaptation, small_bert):
    recipe = changed(classify, **adaptation)
    assert "dropout" not in recipe.model_dump(mode="json"), "the hashes of recipes of before stay"
    assert changed(recipe, dropout=0.0).sha256() != recipe.sha256(), "none at all is said, too"
    task = get_task("classification")
    model, _ = load_base(small_bert, task=task, labels=["a", "b"], recipe=changed(recipe, dropout=0.25))
    shares = {name: one.p for name, one in model.named_modules() if isinstance(one, torch.nn.Dropout)}
    assert set(shares.values()) == {0.25}
    assert any("lora_dropout" in name for name in shares) == (adaptation["adaptation"] == "lora")
    done = [train(changed(recipe, dropout=share), f"{share}") for share in (0.0, 0.25)]
    assert done[0].losses[1:] != done[1].losses[1:]


def test_dropout_where_there_is_none_or_another_is_refused(train, classify, small_bert, tmp_path):
    bare = Path(shutil.copytree(small_bert, tmp_path / "bare"))
    config = json.loads((bare / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps({name: one for name, one in config.items() if "dropout" not in name}))
    with pytest.raises(RecipeError, match="minilm has none that could be set"):
        load_base(bare, task=get_task("classification"), labels=["a"], recipe=changed(classify, dropout=0.1))
    with pytest.raises(ValueError, match="fresh weights have their own"):
        changed(classify, base="fresh", fresh={"family": "bert"}, dropout=0.1)


def test_class_weights_are_of_one_label_a_text_alone(train, write_lines):
    with pytest.raises(RecipeError, match="class_weights: summarisation has no one label a text"):
        train(changed(write_lines, class_weights="balanced"))


def test_rank_and_precision_of_adapters_have_their_effect(train, write_lines):
    recipes = [changed(write_lines, **fields) for fields in ({}, {"lora_rank": 1}, {"precision": "fp32"})]
    assert len({train(recipe, str(i)).weights_sha256 for i, recipe in enumerate(recipes)}) == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_serve_a_classifier_too(train, classify, small_data, precision):
    done = train(changed(classify, adaptation="lora", lora_rank=4, num_steps=40, precision=precision))
    model, tokenizer = load_trained(done.model_dir, task=get_task("classification"))
    test = tables.read_split(small_data, "topics", "test")
    answers = get_task("classification").answer(model, tokenizer, list(test["text"]))
    assert [answer.output for answer in answers] == list(test["label"])


def test_epochs_count_steps_by_the_rows_there_are(train, classify):
    done = train(changed(classify, num_steps=None, num_epochs=1.5))
    assert done.num_steps == 9  # 1.5 × 24 rows, four a step


def test_held_out_rows_are_looked_at_and_not_trained_on(train, classify):
    seen = []
    recipe = changed(classify, validation_share=0.4, evaluate_every_steps=4)
    done = train(recipe, on_evaluate=seen.append)
    assert [look.step for look in seen] == [4, 6]
    assert done.metrics["heldout_loss"] == seen[-1].metrics["heldout_loss"] > 0
    assert done.metrics["num_rows"] < 24


def test_held_out_rows_stay_the_same_as_rows_come(classify, small_data):
    recipe = changed(classify, validation_share=0.4)
    rows = training_rows(recipe, data_dir=small_data)
    _, few = split_off(rows.head(12), recipe)
    _, all_ = split_off(rows, recipe)
    assert set(few["id"]) == set(all_["id"]) & set(rows.head(12)["id"])


def test_rows_of_several_splits_are_joined_and_a_missing_split_gives_none(classify, small_data):
    recipe = changed(classify, splits={"train": None, "pool": 5, "feedback": None})
    rows = training_rows(recipe, data_dir=small_data)
    assert len(rows) == 29
    assert rows["id"].tolist() == training_rows(recipe, data_dir=small_data)["id"].tolist()


def test_no_rows_are_an_error_that_names_the_splits(classify, small_data):
    with pytest.raises(DataError, match="no rows in feedback"):
        training_rows(changed(classify, splits={"feedback": None}), data_dir=small_data)


def test_a_table_of_another_task_is_named(train, classify):
    with pytest.raises(MappingError, match="table 'lines' is of task summarisation"):
        train(changed(classify, table="lines"))


def test_a_loss_that_is_no_number_names_its_step_and_leaves_no_model(train, classify, tmp_path):
    with pytest.raises(NonFiniteLoss, match=r"step \d of topics"):
        train(changed(classify, learning_rate=1e38, optimizer="sgd", max_gradient_norm=1e38, warmup_share=0))
    assert not (tmp_path / "run/model").exists()


def test_a_recipe_must_fit_its_task(train, classify, write_lines):
    with pytest.raises(RecipeError, match="generates nothing"):
        train(changed(classify, max_new_tokens=4))
    with pytest.raises(RecipeError, match="needs it"):
        train(changed(write_lines, max_new_tokens=None))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_epochs": 1}, "either num_epochs or num_steps"),
        ({"num_steps": None}, "either num_epochs or num_steps"),
        ({"lora_rank": 4}, "lora_rank goes with"),
        ({"adaptation": "lora"}, "lora_rank goes with"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(classify, fields, said):
    with pytest.raises(RecipeError, match=said):
        parse_recipe({**classify.model_dump(), **fields})
