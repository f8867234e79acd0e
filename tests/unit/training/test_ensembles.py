import json

import pytest
import torch

from components.data import tables
from components.errors import RecipeError
from components.models.pretrained import load_trained
from components.recipes import Finetune
from components.tasks import get_task
from components.training.finetuning import finetune, split_off, training_rows
from components.training.lock import weights_sha256
from tests.small_trainings import WORDS, labelled


@pytest.fixture
def train(small_data, small_bert, small_llama, tmp_path):
    def run(recipe: Finetune, folder: str = "run", **callbacks):
        weights = small_bert if recipe.task == "classification" else small_llama
        return finetune(recipe, data_dir=small_data, weights_dir=weights, run_dir=tmp_path / folder, **callbacks)

    return run


def together(recipe: Finetune, method: str, members: int = 3) -> Finetune:
    return Finetune(**{**recipe.model_dump(), "ensemble": {"method": method, "members": members}})


def probabilities(model_dir, texts) -> torch.Tensor:
    """(B, labels)"""
    model, tokenizer = load_trained(model_dir, task=get_task("classification"))
    with torch.inference_mode():
        return model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.softmax(-1)


@pytest.fixture
def texts(small_data) -> list[str]:
    return list(tables.read_split(small_data, "topics", "test")["text"])


def test_votes_are_the_mean_of_the_members_probabilities(train, classify, texts):
    done = train(together(classify, "vote"))
    members = [probabilities(done.model_dir.parent / f"member-{i}" / "model", texts) for i in range(3)]
    assert not torch.allclose(members[0], members[1], atol=1e-3), "members that are alike vote for nothing"
    assert torch.allclose(probabilities(done.model_dir, texts), torch.stack(members).mean(0), atol=1e-6)


def test_mean_weights_are_the_mean_of_the_members_weights(train, classify):
    done = train(together(classify, "average_weights"))
    task = get_task("classification")
    whole = load_trained(done.model_dir, task=task)[0].state_dict()
    members = [
        load_trained(done.model_dir.parent / f"member-{i}" / "model", task=task)[0].state_dict() for i in (0, 1, 2)
    ]
    name = "classifier.weight"
    assert not torch.equal(members[0][name], members[1][name])
    assert torch.allclose(whole[name], sum(member[name] for member in members) / 3, atol=1e-7)


def test_thresholds_of_sets_of_labels_are_chosen_anew_for_the_mean(small_bert, classify, tmp_path):
    rows = labelled(range(24)).assign(labels=lambda frame: frame["label"].map(lambda label: json.dumps([label])))
    data = tmp_path / "data"
    tables.write_split(data, "sets", "train", rows.drop(columns="label"), task="multilabel")
    tables.write_table_info(data, "sets", task="multilabel", labels=sorted(WORDS), licences={"tests": "Apache-2.0"})
    task = get_task("multilabel")
    fields = {"task": "multilabel", "table": "sets", "validation_share": 0.4, "num_steps": 6}
    recipe = together(Finetune(**{**classify.model_dump(), **fields}), "average_weights", 2)
    done = finetune(recipe, data_dir=data, weights_dir=small_bert, run_dir=tmp_path / "run")
    model, tokenizer = load_trained(done.model_dir, task=task)
    chosen = dict(model.config.thresholds)
    _, held_out = split_off(training_rows(recipe, data_dir=data), recipe)
    task.settle(model, tokenizer, held_out)
    first = load_trained(done.model_dir.parent / "member-0" / "model", task=task)[0].config.thresholds
    assert chosen == model.config.thresholds != first


def test_adapters_are_averaged_once_they_are_merged(train, write_lines):
    done = train(together(write_lines, "average_weights", 2))
    assert get_task("summarisation").answer(*load_trained(done.model_dir, task=get_task("summarisation")), ["a text"])


def test_the_same_recipe_gives_the_same_model_and_a_kill_between_two_members_changes_nothing(train, classify):
    recipe = together(classify, "vote", 2)
    whole = train(recipe)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == recipe.num_steps + 3:
            raise Killed

    with pytest.raises(Killed):
        train(recipe, "again", on_step=kill)
    steps = []
    again = train(recipe, "again", on_step=steps.append)
    assert again.weights_sha256 == whole.weights_sha256 == weights_sha256(whole.model_dir)
    assert again.losses == whole.losses
    assert len(whole.losses) == 2 * recipe.num_steps
    assert [progress.step for progress in steps] == list(range(recipe.num_steps + 3, 2 * recipe.num_steps + 1))
    assert {progress.num_steps for progress in steps} == {2 * recipe.num_steps}


def test_texts_cannot_be_voted_on(train, write_lines):
    with pytest.raises(RecipeError, match="no labels to vote for"):
        train(together(write_lines, "vote"))
