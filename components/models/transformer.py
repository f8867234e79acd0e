"""The encoder–decoder Transformer of Vaswani et al. 2017 (arXiv 1706.03762), in the format of the Hub.

An encoder reads one text whole, a decoder writes another from left to right and looks at what the encoder made of
the first: the architecture of translation, and what BERT (the encoder) and GPT (the decoder) each kept one half of.
Two heads: one that writes, and one that judges a pair of texts.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, SequenceClassifierOutput

from components.tasks.base import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


class TransformerConfig(PreTrainedConfig):
    model_type = "banyan-transformer"
    attribute_map = {"hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"}  # noqa: RUF012

    vocab_size: int = 4096
    d_model: int = 512
    num_heads: int = 8
    num_layers: int = 6
    """Of the encoder, and as many of the decoder."""
    feedforward_size: int = 2048
    dropout: float = 0.1
    norm_first: bool = True
    """Normalise what enters a sublayer (Xiong et al. 2020, arXiv 2002.04745) rather than its sum with what it gives
    (2017), which they found to need a warm-up."""
    max_position_embeddings: int = 512
    """The longest input and the longest output, in tokens. The positions themselves know no end."""
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 0
    eos_token_id: int | None = 0
    decoder_start_token_id: int | None = 0


def attention(
    queries: "Tensor", keys: "Tensor", values: "Tensor", *, mask: "Tensor | None" = None, dropout: float = 0.0
) -> "Tensor":
    r"""Scaled dot-product attention: softmax(Q Kᵀ / √d_k) V (Vaswani et al. 2017, equation 1).

    Each query's answer is a mean of the values, weighed by how well its key fits; √d_k keeps the softmax from
    saturating, because a dot product of d_k independent terms of variance 1 has variance d_k.

    Args:
        queries: (…, T, d_k); keys: (…, S, d_k); values: (…, S, d_v).
        mask: broadcast over (…, T, S), true where a query may look.
        dropout: share of the weights that are set to zero.

    Returns:
        (…, T, d_v).
    """
    scores = queries @ keys.mT / math.sqrt(queries.shape[-1])  # (…, T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.float().softmax(-1).to(values.dtype)
    return nn.functional.dropout(weights, dropout) @ values


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own d_model / num_heads dimensions (Vaswani et al. 2017, §3.2.2)."""

    def __init__(self, config: TransformerConfig, *, layer: int = 0) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.query, self.key, self.value, self.out = (nn.Linear(config.d_model, config.d_model) for _ in range(4))

    def forward(
        self,
        hidden: "Tensor",
        source: "Tensor",
        mask: "Tensor | None",
        cache: DynamicCache | None = None,
        *,
        is_cached: bool = False,
    ) -> "Tensor":
        """hidden (B, T, C) asks source (B, S, C) → (B, T, C).

        Args:
            mask: (B or 1, 1, T, S), true where a query may look.
            cache: takes the keys and values and gives them back with those of earlier calls.
            is_cached: all keys and values are in the cache: those of the encoder, after the first call.
        """
        queries = self._heads(self.query(hidden))
        keys: Any
        values: Any
        if cache is not None and is_cached:
            kept: Any = cache.layers[self.layer]
            keys, values = kept.keys, kept.values
        else:
            keys, values = self._heads(self.key(source)), self._heads(self.value(source))
            if cache is not None:
                keys, values = cache.update(keys, values, self.layer)
        dropout = self.config.dropout if self.training else 0.0
        if self.config._attn_implementation == "sdpa":  # fused kernels, on CUDA
            mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        else:
            mixed = attention(queries, keys, values, mask=mask, dropout=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _heads(self, hidden: "Tensor") -> "Tensor":
        """(B, T, C) → (B, heads, T, C / heads)."""
        return hidden.unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)


class Layer(GradientCheckpointingLayer):
    """Self-attention, in the decoder attention to the encoder, and a feed-forward net, each around a residual sum."""

    def __init__(self, config: TransformerConfig, *, layer: int, is_decoder: bool) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.self_attention = MultiHeadAttention(config, layer=layer)
        self.self_norm = nn.LayerNorm(config.d_model)
        if is_decoder:
            self.cross_attention = MultiHeadAttention(config, layer=layer)
            self.cross_norm = nn.LayerNorm(config.d_model)
        self.inner = nn.Linear(config.d_model, config.feedforward_size)
        self.outer = nn.Linear(config.feedforward_size, config.d_model)
        self.inner_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: "Tensor",
        mask: "Tensor | None",
        source: "Tensor | None" = None,
        source_mask: "Tensor | None" = None,
        past_key_values: EncoderDecoderCache | None = None,
        is_cached: bool = False,
    ) -> "Tensor":
        """(B, T, C) → (B, T, C)."""
        own = past_key_values.self_attention_cache if past_key_values is not None else None
        hidden = self._around(hidden, self.self_norm, lambda x: self.self_attention(x, x, mask, own))
        if source is not None:
            far = past_key_values.cross_attention_cache if past_key_values is not None else None
            hidden = self._around(
                hidden,
                self.cross_norm,
                lambda x: self.cross_attention(x, source, source_mask, far, is_cached=is_cached),
            )
        return self._around(hidden, self.inner_norm, lambda x: self.outer(self.dropout(self.inner(x).relu())))

    def _around(self, hidden: "Tensor", norm: nn.Module, sublayer: Any) -> "Tensor":
        if self.norm_first:
            return hidden + self.dropout(sublayer(norm(hidden)))
        return norm(hidden + self.dropout(sublayer(hidden)))


def positions(start: int, end: int, width: int, *, device: "torch.device") -> "Tensor":
    """Sinusoids of geometrically growing wavelength for positions start … end − 1: (end − start, width), fp32.

    Vaswani et al. 2017, §3.5: sin(p / 10000^(2i/C)) at 2i and cos of the same at 2i + 1.
    """
    place = torch.arange(start, end, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(10_000.0) / width))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], -1).flatten(1)


class Stack(nn.Module):
    """Layers of one kind, over embeddings that it shares with the other stack."""

    def __init__(self, config: TransformerConfig, embedding: nn.Embedding, *, is_decoder: bool) -> None:
        super().__init__()
        self.config, self.embedding = config, embedding
        self.layers = nn.ModuleList(Layer(config, layer=i, is_decoder=is_decoder) for i in range(config.num_layers))
        self.norm = nn.LayerNorm(config.d_model) if config.norm_first else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)

    def embed(self, ids: "Tensor", *, start: int = 0) -> "Tensor":
        """(B, T) → (B, T, C): embeddings × √C, so that they weigh as much as the positions added to them (§3.4)."""
        scaled = self.embedding(ids) * math.sqrt(self.config.d_model)
        place = positions(start, start + ids.shape[1], self.config.d_model, device=ids.device)
        return self.dropout(scaled + place.to(scaled.dtype))


class Encoder(Stack):
    main_input_name = "input_ids"

    def forward(self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **_: Any) -> BaseModelOutput:
        """input_ids (B, S) → last_hidden_state (B, S, C); attention_mask (B, S) is 0 at padding."""
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return BaseModelOutput(last_hidden_state=self.norm(hidden))


class Decoder(Stack):
    def forward(
        self,
        ids: "Tensor",
        source: "Tensor",
        source_mask: "Tensor | None",
        own_mask: "Tensor | None" = None,
        cache: EncoderDecoderCache | None = None,
    ) -> "Tensor":
        """ids (B, T) after what the cache holds, source (B, S, C) → (B, T, C)."""
        start = cache.get_seq_length() if cache is not None else 0
        far = None if source_mask is None else source_mask.bool()[:, None, None, :]
        until = start + ids.shape[1]
        mask = torch.ones(until, until, dtype=torch.bool, device=ids.device).tril()[None, None, start:]
        if own_mask is not None:
            mask = mask & own_mask.bool()[:, None, None, :]
        hidden = self.embed(ids, start=start)
        for layer in self.layers:
            hidden = layer(hidden, mask, source, far, cache, start > 0)
        return self.norm(hidden)


class TransformerModel(PreTrainedModel):
    """What both heads share."""

    config_class = TransformerConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Layer"]  # noqa: RUF012  # transformers reads it from the class

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Encoder(config, self.embedding, is_decoder=False)
        self.decoder = Decoder(config, self.embedding, is_decoder=True)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        """It can, though transformers does not see it: `MultiHeadAttention` reads the configuration at each call."""
        return True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):  # × √C has variance 1
            nn.init.normal_(module.weight, std=self.config.d_model**-0.5)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_encoder(self, modality: str | None = None) -> nn.Module:  # noqa: ARG002  # there is but text
        return self.encoder

    def get_decoder(self) -> nn.Module:
        return self.decoder


class TransformerForConditionalGeneration(TransformerModel, GenerationMixin):
    """Writes one text after reading another: translation, summaries, continuations. `generate` keeps a cache."""

    _tied_weights_keys = {  # noqa: RUF012  # transformers reads it from the class
        "lm_head.weight": "embedding.weight",
        "encoder.embedding.weight": "embedding.weight",
        "decoder.embedding.weight": "embedding.weight",
    }

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(
        self,
        input_ids: "Tensor | None" = None,
        attention_mask: "Tensor | None" = None,
        decoder_input_ids: "Tensor | None" = None,
        decoder_attention_mask: "Tensor | None" = None,
        labels: "Tensor | None" = None,
        encoder_outputs: "BaseModelOutput | tuple[Tensor, ...] | None" = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """input_ids (B, S) and decoder_input_ids (B, T) → logits (B, T, V).

        Args:
            attention_mask: (B, S), 0 at padding, on either side.
            decoder_input_ids: what has been written, from `decoder_start_token_id` on; `labels` shifted by default.
            labels: (B, T), IGNORED where no loss is; `loss` is their mean cross-entropy in nats.
            encoder_outputs: what the encoder made of the input, instead of `input_ids`.
            past_key_values: of the tokens before `decoder_input_ids`.
            use_cache: give `past_key_values` back.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask)
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("the decoder needs decoder_input_ids or labels")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(), DynamicCache())
        source = encoder_outputs[0]
        hidden = self.decoder(decoder_input_ids, source, attention_mask, decoder_attention_mask, past_key_values)
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=past_key_values,
            encoder_last_hidden_state=source,
        )

    def prepare_decoder_input_ids_from_labels(self, labels: "Tensor") -> "Tensor":
        """(B, T) → (B, T): the start token, then all labels but the last; padding where one is IGNORED."""
        shifted = labels.roll(1, -1)
        shifted[:, 0] = self.config.decoder_start_token_id
        return shifted.masked_fill(shifted == IGNORED, self.config.pad_token_id)


class TransformerForSequenceClassification(TransformerModel):
    """Judges a text, or a pair: a linear map of the decoder's last state (as BART, Lewis et al. 2019, §3.1)."""

    _tied_weights_keys = {  # noqa: RUF012  # transformers reads it from the class
        "encoder.embedding.weight": "embedding.weight",
        "decoder.embedding.weight": "embedding.weight",
    }

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.d_model, config.num_labels or 1)
        self.post_init()

    def forward(
        self,
        input_ids: "Tensor",
        attention_mask: "Tensor | None" = None,
        decoder_input_ids: "Tensor | None" = None,
        decoder_attention_mask: "Tensor | None" = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """input_ids (B, S) → logits (B, labels).

        Args:
            decoder_input_ids: (B, T), the second text of a pair; by default the first one again.
            decoder_attention_mask: (B, T), 0 at padding.
        """
        if decoder_input_ids is None:
            decoder_input_ids, decoder_attention_mask = input_ids, attention_mask
        source = self.encoder(input_ids, attention_mask).last_hidden_state
        hidden = self.decoder(decoder_input_ids, source, attention_mask, decoder_attention_mask)  # (B, T, C)
        if decoder_attention_mask is None:
            last = hidden[:, -1]
        else:  # padding may be on either side
            place = torch.arange(hidden.shape[1], device=hidden.device)
            ends = (decoder_attention_mask * place).argmax(-1)
            last = hidden[torch.arange(len(hidden), device=hidden.device), ends]
        return SequenceClassifierOutput(logits=self.classifier(last))


def head_class(architectures: list[str] | None) -> type[TransformerModel]:
    """The head that a folder's `config.json` names; by default the one that writes."""
    judges = TransformerForSequenceClassification.__name__ in (architectures or ())
    return TransformerForSequenceClassification if judges else TransformerForConditionalGeneration


def register() -> None:
    """Makes transformers' Auto classes know these models; called again, it does no harm."""
    AutoConfig.register(TransformerConfig.model_type, TransformerConfig, exist_ok=True)
    AutoModelForSeq2SeqLM.register(TransformerConfig, TransformerForConditionalGeneration, exist_ok=True)
    AutoModelForSequenceClassification.register(TransformerConfig, TransformerForSequenceClassification, exist_ok=True)
