"""Augmented rows come from the training split alone, and nothing that is measured by changes."""

import pandas as pd
import pytest

from components.data import tables
from components.errors import RecipeError
from components.recipes import Augmentation, Finetune
from components.training.finetuning import augmented, training_rows

SPLITS = ("train", "test", "pool", "reserve", "feedback")


@pytest.fixture
def data_dir(tmp_path):
    for split in SPLITS:
        texts = [f"{split} the quick car is a big problem, number {number}" for number in range(30)]
        frame = pd.DataFrame({"text": texts, "label": ["x", "y", "y"] * 10})
        frame["id"] = frame["text"].map(tables.content_id)
        fixed = {"source": "s", "licence": "l", "group": frame["id"], "origin": "file", "imputed": ""}
        tables.write_split(tmp_path, "things", split, frame.assign(**fixed), task="classification")
    tables.write_table_info(tmp_path, "things", task="classification", labels="xy", licences={"s": "l"})
    return tmp_path


def _recipe(task: str = "classification", **splits: None) -> Finetune:
    return Finetune(
        name="n", task=task, table="things", base="minilm", num_steps=1, learning_rate=1e-3,
        splits=splits or dict.fromkeys(SPLITS), augmentation=Augmentation(copies=2, balance=True),
    )  # fmt: skip


def test_only_rows_of_the_training_split_are_augmented_and_every_other_row_is_as_it_was(data_dir):
    before = {split: tables.read_split(data_dir, "things", split) for split in SPLITS}
    hashed = tables.table_sha256(data_dir, "things")
    recipe = _recipe()
    rows = training_rows(recipe, data_dir=data_dir)
    full = augmented(rows, recipe, data_dir=data_dir)
    made = full[full["origin"].str.startswith("augmented:")]
    assert len(made) >= 60
    assert set(made["group"]) <= set(before["train"]["group"])
    assert set(made["id"]).isdisjoint(set(pd.concat(before.values())["id"]))
    assert full.iloc[: len(rows)].equals(rows)
    assert tables.table_sha256(data_dir, "things") == hashed


def test_the_same_recipe_makes_the_same_rows(data_dir):
    recipe = _recipe(train=None)
    rows = training_rows(recipe, data_dir=data_dir)
    assert augmented(rows, recipe, data_dir=data_dir).equals(augmented(rows, recipe, data_dir=data_dir))


def test_without_the_field_nothing_is_added(data_dir):
    recipe = _recipe(train=None).model_copy(update={"augmentation": None})
    rows = training_rows(recipe, data_dir=data_dir)
    assert augmented(rows, recipe, data_dir=data_dir) is rows


def test_a_task_whose_answers_point_into_the_text_refuses_it(data_dir):
    recipe = _recipe(train=None)
    rows = training_rows(recipe, data_dir=data_dir)
    with pytest.raises(RecipeError, match="point into the text"):
        augmented(rows, recipe.model_copy(update={"task": "entities"}), data_dir=data_dir)


def test_augmentation_without_the_training_split_is_a_mistake_in_the_recipe():
    with pytest.raises(ValueError, match="of split train"):
        _recipe(pool=None)
