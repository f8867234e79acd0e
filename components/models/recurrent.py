"""Recurrent language models: Elman's network, LSTM and GRU, in the format of the Hub."""

from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput

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
        """(B, T) → (B, T, C). Padding belongs on the right: a recurrence reads all it gets."""
        if attention_mask is not None and not bool(attention_mask[:, 0].all()):
            raise ValueError("a recurrent model cannot skip padding on the left")
        hidden, _state = self.cells(self.dropout(self.embedding(input_ids)))
        return self.dropout(hidden)


class RecurrentLanguageModel(RecurrentModel):
    """The next token: the output layer is the embedding again (Press & Wolf 2017, arXiv 1608.05859), or, where the
    state is not as wide, a linear map of its own."""

    _tied_weights_keys = {"lm_head.weight": "embedding.weight"}  # noqa: RUF012  # transformers reads it from the class

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=not config.tie_word_embeddings)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **_: Any) -> CausalLMOutput:
        """input_ids (B, T) → logits (B, T, V)."""
        return CausalLMOutput(logits=self.lm_head(self.states(input_ids, attention_mask)))


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
    AutoModelForSequenceClassification.register(RecurrentConfig, RecurrentForSequenceClassification, exist_ok=True)
