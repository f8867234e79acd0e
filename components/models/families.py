"""The named families, from the feed-forward network to GPT: what each is, and how it is built.

Every family is a `PreTrainedModel`, so that `save_pretrained`, PEFT and whatever reads the Hub's format work.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.errors import InputFileError
from components.recipes import Pretrain

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


Objective = Literal["causal", "masked", "prefix", "continuation"]
"""Predict the next token; the ones that were hidden; the rest of a row from its beginning; whether a text goes on."""


@dataclass(frozen=True)
class Family:
    name: str
    title: str
    year: int
    paper: str
    parents: tuple[str, ...]
    """The families it grew out of; some are history only and are not built here."""
    objective: Objective
    """What it is trained by where a recipe names nothing else."""
    build: Callable[[Pretrain, int], "PreTrainedModel"]
    """A model with fresh weights, drawn from torch's random state, for a vocabulary of so many tokens."""


def load_language_model(folder: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A pretrained model of ours in evaluation mode, whichever family it is, and its tokenizer.

    Raises:
        InputFileError: no such model in `folder`.
    """
    import transformers

    from components.models import feedforward, ngram_gpt, recurrent, transformer
    from components.models.pretrained import quiet, read

    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind = config["model_type"]
    except (OSError, ValueError, KeyError) as err:
        remedy = "it should be a Hugging Face folder with safetensors"
        raise InputFileError(f"{folder} holds no model to read: {err}", remedy) from err
    loader: Any = {
        "bert": transformers.AutoModelForMaskedLM,
        feedforward.FeedForwardConfig.model_type: feedforward.FeedForwardLanguageModel,
        recurrent.RecurrentConfig.model_type: recurrent.RecurrentLanguageModel,
        ngram_gpt.NgramGptConfig.model_type: ngram_gpt.NgramGptLanguageModel,
        transformer.TransformerConfig.model_type: transformer.head_class(config.get("architectures")),
    }.get(kind, transformers.AutoModelForCausalLM)
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return read(folder, loader, dtype="auto").eval(), tokenizer


def _gpt(recipe: Pretrain, vocab_size: int) -> "PreTrainedModel":
    """Today's decoder, Qwen3's: rotary positions, RMSNorm, gated feed-forward, grouped queries, normalised queries and
    keys, tied embeddings. vLLM takes it as it is, llama.cpp as `gguf_writing` writes it.

    Output projections start at zero, so that every block begins as the identity: measured 0.05 nats better after
    300 steps.
    """
    import torch
    import transformers

    model = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=vocab_size,
            hidden_size=recipe.hidden_size,
            intermediate_size=_inner(recipe.hidden_size),
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.attention_heads,
            num_key_value_heads=recipe.num_kv_heads or recipe.attention_heads,
            head_dim=recipe.hidden_size // recipe.attention_heads,
            max_position_embeddings=recipe.max_length_tokens,
            attention_dropout=recipe.dropout,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=True,
            use_cache=True,
        )
    )
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    return model


def _gpt2(recipe: Pretrain, vocab_size: int) -> "PreTrainedModel":
    """GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each sublayer, GELU, tied embeddings."""
    import transformers

    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=vocab_size,
            n_embd=recipe.hidden_size,
            n_layer=recipe.num_layers,
            n_head=recipe.attention_heads,
            n_positions=recipe.max_length_tokens,
            resid_pdrop=recipe.dropout,
            embd_pdrop=recipe.dropout,
            attn_pdrop=recipe.dropout,
        )
    )


def _transformer(recipe: Pretrain, vocab_size: int) -> "PreTrainedModel":
    from components.models import transformer

    config = transformer.TransformerConfig(
        vocab_size=vocab_size,
        d_model=recipe.hidden_size,
        num_heads=recipe.attention_heads,
        num_layers=recipe.num_layers,
        feedforward_size=4 * recipe.hidden_size,
        dropout=recipe.dropout,
        max_position_embeddings=recipe.max_length_tokens,
    )
    if recipe.objective == "continuation":
        config.num_labels = 1  # one logit: does it go on?
        return transformer.TransformerForSequenceClassification(config)
    return transformer.TransformerForConditionalGeneration(config)


def _feedforward(recipe: Pretrain, vocab_size: int) -> "PreTrainedModel":
    from components.models.feedforward import FeedForwardConfig, FeedForwardLanguageModel

    assert recipe.context_tokens is not None  # the recipe's own check
    return FeedForwardLanguageModel(
        FeedForwardConfig(
            vocab_size=vocab_size,
            context_size=recipe.context_tokens,
            embedding_size=recipe.embedding_size or recipe.hidden_size,
            hidden_size=recipe.hidden_size,
            num_hidden_layers=recipe.num_layers,
            dropout=recipe.dropout,
        )
    )


def _bert(recipe: Pretrain, vocab_size: int) -> "PreTrainedModel":
    import transformers

    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=vocab_size,
            hidden_size=recipe.hidden_size,
            intermediate_size=4 * recipe.hidden_size,
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.attention_heads,
            max_position_embeddings=recipe.max_length_tokens,
            hidden_dropout_prob=recipe.dropout,
            attention_probs_dropout_prob=recipe.dropout,
        )
    )


def _recurrent(recipe: Pretrain, vocab_size: int) -> "PreTrainedModel":
    from components.models.recurrent import RecurrentConfig, RecurrentLanguageModel

    return RecurrentLanguageModel(
        RecurrentConfig(
            cell=recipe.family,
            vocab_size=vocab_size,
            embedding_size=recipe.embedding_size,
            hidden_size=recipe.hidden_size,
            num_hidden_layers=recipe.num_layers,
            dropout=recipe.dropout,
            tie_word_embeddings=recipe.embedding_size in (None, recipe.hidden_size),
        )
    )


def _ngram_gpt(recipe: Pretrain, vocab_size: int) -> "PreTrainedModel":
    from components.models.ngram_gpt import NgramGptConfig, NgramGptLanguageModel

    assert recipe.context_tokens is not None  # the recipe's own check
    return NgramGptLanguageModel(
        NgramGptConfig(
            vocab_size=vocab_size,
            context_size=recipe.context_tokens,
            hidden_size=recipe.hidden_size,
            intermediate_size=4 * recipe.hidden_size,
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.attention_heads,
            dropout=recipe.dropout,
            max_position_embeddings=recipe.max_length_tokens,
        )
    )


def _inner(hidden_size: int) -> int:
    """8/3 of the width, a multiple of 64: a gated feed-forward of 4× an ungated one's parameters (Shazeer 2020)."""
    return -(-8 * hidden_size // 3 // 64) * 64


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "feedforward",
            "Feed-forward network",
            2003,
            "Bengio et al., A Neural Probabilistic Language Model",
            ("neural_networks",),
            "causal",
            _feedforward,
        ),
        Family(
            "rnn", "Recurrent network", 1990, "Elman, Finding Structure in Time", ("feedforward",), "causal", _recurrent
        ),
        Family(
            "lstm",
            "Long short-term memory",
            1997,
            "Hochreiter & Schmidhuber, Long Short-Term Memory",
            ("rnn",),
            "causal",
            _recurrent,
        ),
        Family(
            "gru",
            "Gated recurrent unit",
            2014,
            "Cho et al., Learning Phrase Representations using RNN Encoder–Decoder, arXiv 1406.1078",
            ("lstm",),
            "causal",
            _recurrent,
        ),
        Family(
            "transformer",
            "Encoder–decoder Transformer",
            2017,
            "Vaswani et al., Attention Is All You Need, arXiv 1706.03762",
            ("gru",),
            "prefix",
            _transformer,
        ),
        Family(
            "gpt2",
            "GPT-2",
            2019,
            "Radford et al., Language Models are Unsupervised Multitask Learners",
            ("transformer",),
            "causal",
            _gpt2,
        ),
        Family(
            "gpt",
            "Generative pretrained transformer",
            2018,
            "Radford et al., Improving Language Understanding by Generative Pre-Training",
            ("transformer",),
            "causal",
            _gpt,
        ),
        Family(
            "ngram_gpt",
            "GPT over the last few tokens",
            2025,
            "Huang et al., Over-Tokenized Transformer: Vocabulary is Generally Worth Scaling, arXiv 2501.16975",
            ("gpt", "feedforward"),
            "causal",
            _ngram_gpt,
        ),
        Family(
            "bert",
            "Bidirectional encoder",
            2018,
            "Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, arXiv 1810.04805",
            ("transformer",),
            "masked",
            _bert,
        ),
    )
}
