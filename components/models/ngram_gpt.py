"""A GPT whose input at a place is the last few tokens rather than one: for small models of small vocabularies.

Where a token is a character, what comes next is decided mostly by the two or three before it. A GPT of two layers
spends its first one on gathering them; here the input layer of Bengio et al. 2003 (JMLR 3, eq. 1) does that, for the
price of a few look-ups: each of the last n tokens has an embedding of its own for each distance, and their sum goes in.
(Huang et al. 2025, arXiv 2501.16975, do the same with whole n-grams.)
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from components.models.carried import Carried, carried

if TYPE_CHECKING:
    from torch import Tensor


NOTHING = -1
"""In place of a token where a row has none."""


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
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): heads (B, H, T, D), cos and sin (T, D / 2) or, where rows
    have places of their own, (B, 1, T, D / 2)."""
    first, second = heads.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


class _Zero(nn.Linear):
    """A map that starts at zero: a block that ends with it begins as the identity."""


class Block(GradientCheckpointingLayer):
    """Attention and a feed-forward net with squared ReLU (So et al. 2021, arXiv 2109.08668), each around a sum."""

    def __init__(self, config: NgramGptConfig, *, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_attention_heads
        width = config.hidden_size
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = _Zero(width, width, bias=False)
        self.inner = nn.Linear(width, config.intermediate_size, bias=False)
        self.outer = _Zero(config.intermediate_size, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: "Tensor",
        cos: "Tensor",
        sin: "Tensor",
        mask: "Tensor",
        past_key_values: Cache | None = None,
    ) -> "Tensor":
        """hidden (B, T, C); cos, sin as `rotated`; mask (T, S) or (B, 1, T, S), added to the scores → (B, T, C)."""
        source = normalised(hidden)
        query, key, value = (
            layer(source).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, H, T, D)
            for layer in (self.query, self.key, self.value)
        )
        # normalised queries and keys (Henry et al. 2020, arXiv 2010.04245): a learning rate ten times as high holds
        query, key = rotated(normalised(query), cos, sin), rotated(normalised(key), cos, sin)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer)  # (B, H, S, D)
        weights = (query @ key.mT * query.shape[-1] ** -0.5 + mask).softmax(-1).to(value.dtype)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        hidden = hidden + self.dropout(self.out(mixed))
        return hidden + self.dropout(self.outer(self.inner(normalised(hidden)).relu().square()))


class NgramGptLanguageModel(PreTrainedModel, GenerationMixin):
    """Embeddings of the last tokens by their distance, blocks, and an output layer that starts at zero."""

    config_class = NgramGptConfig
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012  # transformers reads it from the class

    def __init__(self, config: NgramGptConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.context_size * config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer=i) for i in range(config.num_hidden_layers))
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

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `generate` leaves the cache to the model then

    def base_model(  # type: ignore[override]  # the weights lie beside the head's; what is asked of it is a call
        self,
        input_ids: "Tensor",
        attention_mask: "Tensor | None" = None,
        position_ids: "Tensor | None" = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """input_ids (B, T) → last_hidden_state (B, T, C).

        Args:
            attention_mask: (B, all tokens so far), 0 at padding, on the left where the row goes on.
            position_ids: (B, T), 0 at a row's first token; by default as the mask has it.
            past_key_values: keys and values of the tokens before, and the last n − 1 of these.
            use_cache: carry them on.
        """
        # Whole rows as in training, where padding can only stand on the right: no place looks at what comes later.
        is_whole = past_key_values is None and not use_cache
        if is_whole and (attention_mask is None or bool(attention_mask[:, 0].all())):
            hidden = self._entering(self._embedded(input_ids))
            cos, sin, mask = self._places(hidden)
            for block in self.blocks:
                hidden = block(hidden, cos, sin, mask)
            return BaseModelOutputWithPast(last_hidden_state=normalised(hidden))
        return self._going_on(input_ids, attention_mask, position_ids, past_key_values, use_cache=use_cache)

    def forward(
        self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **more: Any
    ) -> CausalLMOutputWithPast:
        """input_ids (B, T) → logits (B, T, V); the rest as `base_model`."""
        found = self.base_model(input_ids, attention_mask, **more)
        return CausalLMOutputWithPast(
            logits=self.lm_head(found.last_hidden_state), past_key_values=found.past_key_values
        )

    def _going_on(
        self,
        input_ids: "Tensor",
        attention_mask: "Tensor | None",
        position_ids: "Tensor | None",
        cache: Cache | None,
        *,
        use_cache: bool,
    ) -> BaseModelOutputWithPast:
        """Rows that begin at different places, or went before: each has positions and a mask of its own."""
        reach = self.config.context_size - 1
        layer = None if cache is None else carried(cache)
        window = layer.states[0] if layer else input_ids.new_full((len(input_ids), reach), NOTHING)
        so_far = cache.get_seq_length() if cache is not None and self.blocks else 0
        if attention_mask is None:
            attention_mask = input_ids.new_ones(len(input_ids), so_far + input_ids.shape[1])
        own = attention_mask[:, -input_ids.shape[1] :]
        if use_cache and not bool(own[:, -1].all()):
            raise ValueError("an n-gram GPT cannot go on after padding")
        if position_ids is None:
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        ids = torch.cat([window, input_ids.masked_fill(own == 0, NOTHING)], 1)  # (B, n − 1 + T)
        if use_cache and layer:
            layer.carry(ids[:, ids.shape[1] - reach :])
        elif use_cache:
            cache = Cache(layers=[*(DynamicLayer() for _ in self.blocks), Carried(ids[:, ids.shape[1] - reach :])])
        hidden = self._entering(self._embedded_after(ids, input_ids.shape[1]))
        cos, sin = (angle[:, None].to(hidden.dtype) for angle in self._angles(position_ids))  # (B, 1, T, D / 2)
        place = torch.arange(attention_mask.shape[1], device=hidden.device)
        seen = (place <= place[so_far:, None]) & attention_mask[:, None, None].bool()  # (B, 1, T, S)
        mask = torch.zeros(seen.shape, dtype=hidden.dtype, device=hidden.device)
        mask = mask.masked_fill(~seen, torch.finfo(hidden.dtype).min)
        for block in self.blocks:
            hidden = block(hidden, cos, sin, mask, past_key_values=cache if use_cache else None)
        return BaseModelOutputWithPast(last_hidden_state=normalised(hidden), past_key_values=cache)

    def _entering(self, embedded: "Tensor") -> "Tensor":
        """What goes into the first block."""
        hidden = self.dropout(embedded)
        if torch.is_autocast_enabled(hidden.device.type):  # the sums too: half the memory to move
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        return normalised(hidden)

    def _embedded_after(self, ids: "Tensor", length: int) -> "Tensor":
        """(B, n − 1 + T), of which the last T are read → (B, T, C). `NOTHING` adds nothing."""
        total: Any = 0
        for distance, table in enumerate(self.embedding.weight.split(self.config.vocab_size)):
            end = ids.shape[1] - distance
            part = ids[:, end - length : end]
            total = total + nn.functional.embedding(part.clamp(min=0), table) * (part != NOTHING)[..., None]
        return total

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
        length = hidden.shape[1]
        like = {"device": hidden.device, "dtype": torch.float32}
        cos, sin = self._angles(torch.arange(length, **like))  # type: ignore[call-overload]
        mask = torch.full((length, length), torch.finfo(hidden.dtype).min, **like).triu(1)  # type: ignore[call-overload]
        return cos.to(hidden.dtype), sin.to(hidden.dtype), mask.to(hidden.dtype)

    def _angles(self, places: "Tensor") -> "tuple[Tensor, Tensor]":
        """places (…, T) → cos and sin (…, T, D / 2), fp32."""
        half = self.config.hidden_size // self.config.num_attention_heads // 2
        rate = self.config.rope_theta ** -(torch.arange(half, device=places.device, dtype=torch.float32) / half)
        angle = places[..., None] * rate
        return angle.cos(), angle.sin()


def register() -> None:
    """Makes transformers' Auto classes know this model; called again, it does no harm."""
    AutoConfig.register(NgramGptConfig.model_type, NgramGptConfig, exist_ok=True)
    AutoModelForCausalLM.register(NgramGptConfig, NgramGptLanguageModel, exist_ok=True)
