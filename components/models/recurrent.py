"""Recurrent language models: Elman's network, LSTM and GRU, in the format of the Hub."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast, SequenceClassifierOutput

from components.models.carried import Carried, carried

if TYPE_CHECKING:
    from torch import Tensor

CELLS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentConfig(PreTrainedConfig):
    model_type = "banyan-recurrent"

    cell: str = "lstm"
    vocab_size: int = 4096
    embedding_size: int | None = None
    """None: as wide as the state."""
    hidden_size: int = 256
    num_hidden_layers: int = 2
    dropout: float = 0.0
    tie_word_embeddings: bool = True
    """Only where embedding and state are equally wide."""


class RecurrentModel(PreTrainedModel):
    """Embedding and a stack of cells: what every head is put on."""

    config_class = RecurrentConfig

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        between = config.dropout if config.num_hidden_layers > 1 else 0.0  # torch warns where there is no between
        width = config.embedding_size or config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.cells = CELLS[config.cell](
            width,
            config.hidden_size,
            num_layers=config.num_hidden_layers,
            dropout=between,
            batch_first=True,
        )
        self.dropout = nn.Dropout(config.dropout)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def states(self, input_ids: "Tensor", attention_mask: "Tensor | None") -> "Tensor":
        """(B, T) → (B, T, C). A row's padding stands on one side of it, and says nothing."""
        return self.read(input_ids, attention_mask)[0]

    def read(
        self,
        input_ids: "Tensor",
        attention_mask: "Tensor | None" = None,
        before: "tuple[Tensor, ...] | None" = None,
        *,
        goes_on: bool = False,
    ) -> "tuple[Tensor, tuple[Tensor, ...]]":
        """(B, T) → (B, T, C), and the state after each row's last token: (B, layers, C), of an LSTM its cell's, too.

        Args:
            before: the state to begin with, as it is given back.
            goes_on: whether that state is asked for. If not, padding on the right may be read: it changes nothing.
        """
        embedded = self.dropout(self.embedding(input_ids))
        start = None if before is None else tuple(state.transpose(0, 1).contiguous() for state in before)
        first: Any = start[0] if start is not None and len(start) == 1 else start
        if attention_mask is None or bool((attention_mask if goes_on else attention_mask[:, :1]).all()):
            hidden, after = self.cells(embedded, first)
        else:
            hidden, after = self._between_padding(embedded, attention_mask, first)
        states = after if isinstance(after, tuple) else (after,)
        return self.dropout(hidden), tuple(state.transpose(0, 1) for state in states)

    def _between_padding(self, embedded: "Tensor", mask: "Tensor", start: Any) -> "tuple[Tensor, Any]":
        """As `cells` of each row alone: the rows are moved to the left, read as far as they go, and moved back."""
        place = torch.arange(embedded.shape[1], device=embedded.device)
        first = mask.argmax(1, keepdim=True)  # (B, 1)
        there, back = ((place + offset) % len(place) for offset in (first, -first))  # (B, T)
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded.gather(1, there[..., None].expand_as(embedded)),
            mask.sum(1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        out, after = self.cells(packed, start)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=len(place))
        return hidden.gather(1, back[..., None].expand_as(hidden)), after


class RecurrentLanguageModel(RecurrentModel, GenerationMixin):
    """The next token: the output layer is the embedding again (Press & Wolf 2017, arXiv 1608.05859), or, where the
    state is not as wide, a linear map of its own."""

    _tied_weights_keys = {"lm_head.weight": "embedding.weight"}  # noqa: RUF012  # transformers reads it from the class

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=not config.tie_word_embeddings)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `generate` leaves the cache to the model then

    def base_model(  # type: ignore[override]  # the weights lie beside the head's; what is asked of it is a call
        self,
        input_ids: "Tensor",
        attention_mask: "Tensor | None" = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """input_ids (B, T) → last_hidden_state (B, T, C).

        Args:
            attention_mask: (B, all tokens so far), 0 at padding, on either side.
            past_key_values: what was carried out of the tokens before.
            use_cache: carry it on.
        """
        mask = None if attention_mask is None else attention_mask[:, -input_ids.shape[1] :]
        layer = None if past_key_values is None else carried(past_key_values)
        hidden, after = self.read(input_ids, mask, layer.states if layer else None, goes_on=use_cache)
        if use_cache and layer:
            layer.carry(*after)
        elif use_cache:
            past_key_values = Cache(layers=[Carried(*after)])
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)

    def forward(
        self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **more: Any
    ) -> CausalLMOutputWithPast:
        """input_ids (B, T) → logits (B, T, V); the rest as `base_model`."""
        found = self.base_model(input_ids, attention_mask, **more)
        return CausalLMOutputWithPast(
            logits=self.lm_head(found.last_hidden_state), past_key_values=found.past_key_values
        )


class RecurrentForSequenceClassification(RecurrentModel):
    """Judges a text: a linear map of the states' mean over its tokens."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels or 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.classifier:  # read from a language model's folder, it is new
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def forward(
        self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **_: Any
    ) -> SequenceClassifierOutput:
        """input_ids (B, T) → logits (B, labels)."""
        hidden = self.states(input_ids, attention_mask)  # (B, T, C)
        if attention_mask is None:
            mean = hidden.mean(1)
        else:
            read = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * read).sum(1) / read.sum(1)
        return SequenceClassifierOutput(logits=self.classifier(mean))


def register() -> None:
    """Makes transformers' Auto classes know these models; called again, it does no harm."""
    AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig, exist_ok=True)
    AutoModelForCausalLM.register(RecurrentConfig, RecurrentLanguageModel, exist_ok=True)
    AutoModelForSequenceClassification.register(RecurrentConfig, RecurrentForSequenceClassification, exist_ok=True)
