"""A base without a past: a tokenizer of the rows to train on, and a family's weights as they are drawn.

What a pretrained base is worth shows beside it; and what no base is to be had for (an encoder–decoder, another
language) is trained from here.
"""

from collections.abc import Iterable
from pathlib import Path

from components.errors import RecipeError
from components.recipes import Finetune, Pretrain
from components.tasks.base import Head
from components.training.seeds import derive

HEADS: dict[str, tuple[Head, ...]] = {
    **dict.fromkeys(("rnn", "lstm", "gru"), ("classifier", "generator", "regressor")),
    **dict.fromkeys(("feedforward", "ngram_gpt"), ("generator",)),
    "transformer": ("classifier", "generator", "regressor"),
    "bert": ("classifier", "tagger", "span", "regressor"),
    **dict.fromkeys(("gpt2", "gpt"), ("classifier", "tagger", "span", "generator", "regressor")),
}
"""Family → what can be put on it."""


def check(recipe: Finetune, head: Head) -> None:
    """Raise RecipeError where the recipe's family cannot take its task's head."""
    assert recipe.fresh is not None
    if head not in HEADS[recipe.fresh.family]:
        able = ", ".join(family for family, heads in HEADS.items() if head in heads)
        raise RecipeError(
            f"{recipe.name}: fresh.family {recipe.fresh.family}: task {recipe.task} needs a {head}",
            f"take one of {able}",
        )


def architecture(recipe: Finetune) -> Pretrain:
    """The family's shape as `FAMILIES` builds it, as long as the recipe's texts and answers."""
    assert recipe.fresh is not None  # the recipe's own check
    return Pretrain(
        name=recipe.name,
        num_steps=1,
        learning_rate=recipe.learning_rate,
        max_length_tokens=recipe.max_length_tokens + (recipe.max_new_tokens or 0),
        **recipe.fresh.model_dump(),
    )


def make(recipe: Finetune, texts: Iterable[str], folder: Path) -> Path:
    """A Hugging Face folder with the recipe's family, drawn from its seed, and a tokenizer of `texts`."""
    import torch

    from components.models.families import FAMILIES
    from components.models.tokenizer import train_bpe

    shape = architecture(recipe)
    tokenizer = train_bpe(texts, shape.vocab_size)
    tokenizer.model_max_length = shape.max_length_tokens
    with torch.random.fork_rng():
        torch.manual_seed(derive(recipe.seed, "fresh base"))
        model = FAMILIES[shape.family].build(shape, len(tokenizer))
    end = tokenizer.eos_token_id
    model.config.pad_token_id = model.config.eos_token_id = model.config.bos_token_id = end
    if model.config.is_encoder_decoder:
        model.config.decoder_start_token_id = end
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
