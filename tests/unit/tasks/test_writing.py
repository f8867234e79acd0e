"""What writing tasks share, with an encoder–decoder; with a causal model see test_summarisation."""

import pandas as pd
import pytest
import torch

from components.models.pretrained import load_trained
from components.models.tokenizer import train_bpe
from components.models.transformer import TransformerConfig, TransformerForConditionalGeneration
from components.recipes import Finetune
from components.tasks.base import IGNORED
from components.tasks.translation import TASK

RECIPE = Finetune(
    name="t", task="translation", table="t", base="b", num_steps=1, learning_rate=1, max_length_tokens=40,
    max_new_tokens=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    found = train_bpe([TASK.template, "das Haus ist klein"] * 3, 300)
    found.model_max_length = 40
    return found


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    config = TransformerConfig(
        vocab_size=len(tokenizer), d_model=32, num_heads=2, num_layers=2, feedforward_size=64, dropout=0.0,
        max_position_embeddings=64, pad_token_id=end, eos_token_id=end, bos_token_id=end, decoder_start_token_id=end,
    )  # fmt: skip
    found = TransformerForConditionalGeneration(config).eval()
    for p in found.parameters():
        p.data *= 5  # fresh weights say the same to everything
    found.generation_config.max_new_tokens = 6
    return found


def rows(tokenizer, *pairs):
    return TASK.rows(pd.DataFrame(pairs, columns=["text", "target"]), tokenizer, RECIPE, [])


def test_the_loss_is_that_of_each_row_alone_without_padding(tokenizer, model):
    examples = rows(tokenizer, ("house", "Haus"), ("the small house", "das Haus ist klein"))
    total, count = TASK.loss(model, TASK.collate(examples, tokenizer.pad_token_id))
    alone = 0.0
    for example in examples:
        said = [n for n in example["labels"] if n != IGNORED]
        read = example["input_ids"][: -len(said)]
        start = torch.tensor([[model.config.decoder_start_token_id, *said[:-1]]])
        logits = model(input_ids=torch.tensor([read]), decoder_input_ids=start).logits[0]
        alone += torch.nn.functional.cross_entropy(logits, torch.tensor(said), reduction="sum").item()
    assert total.item() == pytest.approx(alone, rel=1e-4)
    assert int(count) == sum(n != IGNORED for example in examples for n in example["labels"])


def test_answers_are_the_same_alone_and_together(tokenizer, model):
    texts = ["house", "the small house is a small house", "it"]
    together = TASK.answer(model, tokenizer, texts)
    for text, answer in zip(texts, together, strict=True):
        [alone] = TASK.answer(model, tokenizer, [text])
        assert alone.output == answer.output
        assert alone.confidence == pytest.approx(answer.confidence, rel=1e-3)
        assert 0 < answer.confidence < 1


def test_a_trained_encoder_decoder_is_read_back_from_its_folder(tokenizer, model, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    back, words = load_trained(tmp_path, task=TASK)
    assert isinstance(back, TransformerForConditionalGeneration)
    assert TASK.answer(back, words, ["house"])[0].output == TASK.answer(model, tokenizer, ["house"])[0].output
