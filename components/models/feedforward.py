"""The feed-forward language model of Bengio et al. 2003, "A Neural Probabilistic Language Model" (JMLR 3)."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from components.models.carried import Carried, carried

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


class FeedForwardLanguageModel(PreTrainedModel, GenerationMixin):
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
            attention_mask: (B, all tokens so far), 0 at padding, on the left where the row goes on.
            past_key_values: the last n − 1 tokens' embeddings.
            use_cache: carry them on.
        """
        before = self.config.context_size - 1
        embedded = self.embedding(input_ids)  # (B, T, E)
        if attention_mask is not None:
            own = attention_mask[:, -input_ids.shape[1] :]
            if use_cache and not bool(own[:, -1].all()):
                raise ValueError("a feed-forward language model cannot go on after padding")
            if not bool(own[:, 0].all()):  # before its first token a row has nothing but the learned vector
                embedded = torch.where(own[..., None].bool(), embedded, self.start.weight)
        layer = None if past_key_values is None else carried(past_key_values)
        start = layer.states[0] if layer else self.start.weight.expand(len(input_ids), before, -1)
        embedded = torch.cat([start, embedded], 1)  # (B, before + T, E)
        state = embedded.unfold(1, before + 1, 1).mT.flatten(2)  # (B, T, n − 1, E) side by side
        for hidden in self.hidden:
            state = self.dropout(hidden(state).tanh())
        if use_cache:
            window = embedded[:, embedded.shape[1] - before :]
            if layer:
                layer.carry(window)
            else:
                past_key_values = Cache(layers=[Carried(window)])
        return BaseModelOutputWithPast(last_hidden_state=state, past_key_values=past_key_values)

    def forward(
        self, input_ids: "Tensor", attention_mask: "Tensor | None" = None, **more: Any
    ) -> CausalLMOutputWithPast:
        """input_ids (B, T) → logits (B, T, V); the rest as `base_model`."""
        found = self.base_model(input_ids, attention_mask, **more)
        return CausalLMOutputWithPast(
            logits=self.lm_head(found.last_hidden_state), past_key_values=found.past_key_values
        )


def register() -> None:
    """Makes transformers' Auto classes know this model; called again, it does no harm."""
    AutoConfig.register(FeedForwardConfig.model_type, FeedForwardConfig, exist_ok=True)
    AutoModelForCausalLM.register(FeedForwardConfig, FeedForwardLanguageModel, exist_ok=True)
