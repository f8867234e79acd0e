import pytest
import torch
import transformers

from components.errors import InputFileError, RecipeError
from components.models.pretrained import load_base, load_trained, quiet
from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks import get_task

LABELS = ["graphs", "waves"]
RECIPE = Finetune(
    name="t", task="classification", table="t", base="b", num_steps=1, learning_rate=1, max_length_tokens=7
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = train_bpe(["graphs and waves"], 300)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def base(folder, **fields):
    return load_base(
        folder, task=get_task("classification"), labels=LABELS, recipe=Finetune(**{**RECIPE.model_dump(), **fields})
    )


def test_a_base_gets_the_tables_labels_and_the_recipes_length(folder):
    model, tokenizer = base(folder)
    assert model.config.id2label == {0: "graphs", 1: "waves"}
    assert tokenizer.model_max_length == 7
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_texts_longer_than_the_base_takes_are_refused(folder):
    with pytest.raises(RecipeError, match="max_length_tokens 513: b takes 512 tokens"):
        base(folder, max_length_tokens=513)


def test_what_is_new_is_drawn_from_the_seed_alone(folder):
    torch.manual_seed(1)
    heads = [base(folder, seed=seed)[0].classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_adapters_and_the_new_head_alone_are_trained(folder):
    model, _ = base(folder, adaptation="lora", lora_rank=2)
    trained = {name: p.dtype for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert set(trained.values()) == {torch.float32}
    assert {"lora_" in name or "classifier" in name for name in trained} == {True}
    assert [name for name in trained if "classifier" in name]


def test_tensors_lie_where_torch_puts_them_and_not_where_a_file_had_them(folder):
    model, _ = base(folder)
    assert not [name for name, p in model.named_parameters() if p.data_ptr() % 64]


def test_a_folder_without_weights_and_a_torn_file_are_named(folder, tmp_path):
    with pytest.raises(InputFileError, match=f"{tmp_path} holds no model to read"):
        load_trained(tmp_path, task=get_task("classification"))
    model, tokenizer = base(folder)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputFileError, match="holds no model to read"):
        load_trained(tmp_path, task=get_task("classification"))


def test_quiet_leaves_the_log_as_it_was():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet():
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
