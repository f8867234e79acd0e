"""A GPT whose input at a place is the last few tokens rather than one: for small models of small vocabularies.

Where a token is a character, what comes next is decided mostly by the two or three before it. A GPT of two layers
spends its first one on gathering them; here the input layer of Bengio et al. 2003 (JMLR 3, eq. 1) does that, for the
price of a few look-ups: each of the last n tokens has an embedding of its own for each distance, and their sum goes in.
(Huang et al. 2025, arXiv 2501.16975, do the same with whole n-grams.)
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import CausalLMOutput

if TYPE_CHECKING:
    from torch import Tensor


class NgramGptConfig(PreTrainedConfig):
    model_type = "banyan-ngram-gpt"

    vocab_size: int = 4096
    context_size: int = 4
    """Tokens that go in at a place: itself and those before it."""
    hidden_size: int = 128
    intermediate_size: int = 512
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    dropout: float = 0.0
    max_position_embeddings: int = 64
    """The longest row, in tokens."""
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = False


def normalised(hidden: "Tensor") -> "Tensor":
    """(…, C) with mean 0 and variance 1 along C, without a gain: the maps that follow have one.

    LayerNorm rather than RMSNorm, because PyTorch has a fused kernel of it on CPU: 0.5 ms for 3,072 × 128 in bf16,
    forward and backward, and RMSNorm's four operations 1.7 ms.
    """
    return nn.functional.layer_norm(hidden, hidden.shape[-1:])


def rotated(heads: "Tensor", cos: "Tensor", sin: "Tensor") -> "Tensor":
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): heads (B, H, T, D), cos and sin (T, D / 2)."""
    first, second = heads.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class _Zero(nn.Linear):
    """A map that starts at zero: a block that ends with it begins as the identity."""


class Block(GradientCheckpointingLayer):
    """Attention and a feed-forward net with squared ReLU (So et al. 2021, arXiv 2109.08668), each around a sum."""

    def __init__(self, config: NgramGptConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        width = config.hidden_size
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = _Zero(width, width, bias=False)
        self.inner = nn.Linear(width, config.intermediate_size, bias=False)
        self.outer = _Zero(config.intermediate_size, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: "Tensor", cos: "Tensor", sin: "Tensor", mask: "Tensor") -> "Tensor":
        """hidden (B, T, C); cos, sin (T, C / H / 2); mask (T, T), added to the scores → (B, T, C)."""
        source = normalised(hidden)
        query, key, value = (
            layer(source).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, H, T, D)
            for layer in (self.query, self.key, self.value)
        )
        # normalised queries and keys (Henry et al. 2020, arXiv 2010.04245): a learning rate ten times as high holds
        query, key = rotated(normalised(query), cos, sin), rotated(normalised(key), cos, sin)
        weights = (query @ key.mT * query.shape[-1] ** -0.5 + mask).softmax(-1).to(value.dtype)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        hidden = hidden + self.dropout(self.out(mixed))
        return hidden + self.dropout(self.outer(self.inner(normalised(hidden)).relu().square()))


class NgramGptLanguageModel(PreTrainedModel):
    """Embeddings of the last tokens by their distance, blocks, and an output layer that starts at zero."""

    config_class = NgramGptConfig
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012  # transformers reads it from the class

    def __init__(self, config: NgramGptConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.context_size * config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.dropout = nn.Dropout(config.dropout)
        self.lm_head = _Zero(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):  # a sum of n of them has variance 1
            nn.init.normal_(module.weight, std=self.config.context_size**-0.5)
        elif isinstance(module, _Zero):
            nn.init.zeros_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -(bound := module.in_features**-0.5), bound)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **_: Any) -> CausalLMOutput:
        """input_ids (B, T) → logits (B, T, V). Padding belongs on the right: no place looks at what comes later."""
        if attention_mask is not None and not bool(attention_mask[:, 0].all()):
            raise ValueError("an n-gram GPT cannot skip padding on the left")
        hidden = self.dropout(self._embedded(input_ids))
        if torch.is_autocast_enabled(hidden.device.type):  # the sums too: half the memory to move
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        hidden = normalised(hidden)
        cos, sin, mask = self._places(hidden)
        for block in self.blocks:
            hidden = block(hidden, cos, sin, mask)
        return CausalLMOutput(logits=self.lm_head(normalised(hidden)))

    def _embedded(self, input_ids: "Tensor") -> "Tensor":
        """(B, T) → (B, T, C). Before a row's first token there is nothing, which adds nothing."""
        own, *others = self.embedding.weight.split(self.config.vocab_size)
        total = nn.functional.embedding(input_ids, own)
        for distance, table in enumerate(others[: input_ids.shape[1] - 1], 1):
            part = nn.functional.embedding(input_ids[:, :-distance], table)
            total = total + nn.functional.pad(part, (0, 0, distance, 0))
        return total

    def _places(self, hidden: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
        """cos and sin (T, D / 2), and what is added to the scores (T, T), in the type and on the device of `hidden`."""
        length, half = hidden.shape[1], self.config.hidden_size // self.config.num_attention_heads // 2
        like = {"device": hidden.device, "dtype": torch.float32}
        rate = self.config.rope_theta ** -(torch.arange(half, **like) / half)  # type: ignore[call-overload]
        angle = torch.arange(length, **like)[:, None] * rate  # type: ignore[call-overload]
        mask = torch.full((length, length), torch.finfo(hidden.dtype).min, **like).triu(1)  # type: ignore[call-overload]
        return angle.cos().to(hidden.dtype), angle.sin().to(hidden.dtype), mask.to(hidden.dtype)
