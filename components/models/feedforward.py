"""The feed-forward language model of Bengio et al. 2003, "A Neural Probabilistic Language Model" (JMLR 3)."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

if TYPE_CHECKING:
    from torch import Tensor


class FeedForwardConfig(PreTrainedConfig):
    model_type = "banyan-feedforward"

    vocab_size: int = 4096
    context_size: int = 8
    """Tokens that the next one is predicted from: the paper's n − 1."""
    embedding_size: int = 64
    hidden_size: int = 256
    num_hidden_layers: int = 1
    """The paper has one."""
    dropout: float = 0.0
    tie_word_embeddings: bool = False


class FeedForwardLanguageModel(PreTrainedModel):
    """y = b + U tanh(d + H x), where x is the last n − 1 tokens' embeddings side by side (Bengio et al. 2003, eq. 1).

    The optional direct connections W x are left out. Before a row's first token stands a learned vector.
    """

    config_class = FeedForwardConfig

    def __init__(self, config: FeedForwardConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.start = nn.Embedding(1, config.embedding_size)
        width = config.context_size * config.embedding_size
        self.hidden = nn.ModuleList(
            nn.Linear(width if i == 0 else config.hidden_size, config.hidden_size)
            for i in range(config.num_hidden_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)  # tanh of a sum of n − 1 embeddings should not begin at zero
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **_: Any) -> CausalLMOutput:
        """input_ids (B, T) → logits (B, T, V). Padding belongs on the right: each place reads those before it."""
        if attention_mask is not None and not bool(attention_mask[:, 0].all()):
            raise ValueError("a feed-forward language model cannot skip padding on the left")
        before = self.config.context_size - 1
        start = self.start.weight.expand(len(input_ids), before, -1)
        embedded = torch.cat([start, self.embedding(input_ids)], 1)  # (B, before + T, E)
        state = embedded.unfold(1, before + 1, 1).mT.flatten(2)  # (B, T, n − 1, E) side by side
        for layer in self.hidden:
            state = self.dropout(layer(state).tanh())
        return CausalLMOutput(logits=self.lm_head(state))
