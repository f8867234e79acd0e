"""Several classifiers as one model: what they say is the mean of their probabilities."""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class VotingConfig(PreTrainedConfig):
    model_type = "banyan-voting"

    members: tuple[dict[str, Any], ...] | list[dict[str, Any]] = ()
    """Their configurations, as `to_dict` gives them."""


class VotingForSequenceClassification(PreTrainedModel):
    """Soft voting (Dietterich 2000): every member reads the text, and their probabilities are averaged."""

    config_class = VotingConfig

    def __init__(self, config: VotingConfig) -> None:
        super().__init__(config)
        self.members = nn.ModuleList(
            AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**member)) for member in config.members
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.members[0].get_input_embeddings()  # type: ignore[operator]

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: members are trained before they vote."""

    def forward(self, **inputs: "Tensor") -> SequenceClassifierOutput:
        """input_ids (B, T) and whatever the members take → logits (B, labels): the mean probability's logarithm."""
        votes = torch.stack([member(**inputs).logits.float().log_softmax(-1) for member in self.members])
        return SequenceClassifierOutput(logits=votes.logsumexp(0) - torch.tensor(float(len(votes))).log())


def voting(members: "Sequence[PreTrainedModel]") -> VotingForSequenceClassification:
    """One model of classifiers of the same labels, which it takes over."""
    first = members[0].config
    config = VotingConfig(
        members=[member.config.to_dict() for member in members],
        id2label=first.id2label,
        label2id=first.label2id,
    )
    config.pad_token_id = getattr(first, "pad_token_id", None)
    model = VotingForSequenceClassification(config)
    model.members = nn.ModuleList(members)
    return model


def register() -> None:
    """Makes transformers' Auto classes know it; called again, it does no harm."""
    AutoConfig.register(VotingConfig.model_type, VotingConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(VotingConfig, VotingForSequenceClassification, exist_ok=True)
