"""Learning from what people prefer, without a reward model: the losses of DPO and KTO.

Both compare the log-probability that the model in training gives an answer with what a frozen reference gives it: the
model that it started from (with LoRA the same weights with the adapters switched off). β log π(y|x) / π_ref(y|x) is the
reward that such a model implies (Rafailov et al. 2023, arXiv 2305.18290, §4).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.tasks.base import IGNORED

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def answer_logprobs(model: "PreTrainedModel", batch: "Mapping[str, Tensor]") -> "Tensor":
    """log π(y|x) in nats, a row: (B,).

    Args:
        batch: input_ids, attention_mask, labels (B, T): prompt and answer, with labels IGNORED but at the answer, each
            label at its own token's place (the model's prediction for it stands one place earlier).
    """
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]  # (B, T − 1, V)
    labels = batch["labels"][:, 1:]
    counts = labels != IGNORED
    picked = logits.float().log_softmax(-1).gather(-1, labels.masked_fill(~counts, 0)[..., None]).squeeze(-1)
    return (picked * counts).sum(-1)


def dpo(
    chosen: "Tensor", rejected: "Tensor", reference_chosen: "Tensor", reference_rejected: "Tensor", *, beta: float
) -> "tuple[Tensor, Tensor]":
    """Direct preference optimisation: −log σ(β [(log π/π_ref)(chosen) − (log π/π_ref)(rejected)]), summed over pairs.

    Rafailov et al. 2023, equation 7. All arguments are log-probabilities of answers in nats, (B,); the reference's
    carry no gradient.

    Args:
        beta: how much it costs to leave the reference, per nat; 0.1 is usual.

    Returns:
        The sum, and the number of pairs.
    """
    import torch

    margin = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
    return -torch.nn.functional.logsigmoid(beta * margin).sum(), torch.tensor(len(margin), device=margin.device)


def reference_point(mismatched: "Tensor", reference_mismatched: "Tensor") -> "Tensor":
    """KTO's z₀ in nats, a scalar without gradient: how far the model has moved from the reference, never below zero.

    Estimated from answers that belong to other prompts of the batch: (B,) log-probabilities under both (Ethayarajh et
    al. 2024, arXiv 2402.01306, §4.1).
    """
    return (mismatched.detach() - reference_mismatched.detach()).mean().clamp(min=0)


def kto(
    answers: "Tensor",
    reference_answers: "Tensor",
    is_good: "Tensor",
    *,
    point: "Tensor",
    beta: float,
    weight_good: float = 1.0,
    weight_bad: float = 1.0,
) -> "tuple[Tensor, Tensor]":
    """Kahneman–Tversky optimisation: a thumb up or down for each answer, no pairs (Ethayarajh et al. 2024, §4.1).

    Good: λ_D (1 − σ(β (r − z₀))); bad: λ_U (1 − σ(β (z₀ − r))), r = log π/π_ref of the answer.

    Args:
        answers: log-probabilities in nats, (B,); the reference's likewise, without gradient.
        is_good: (B,) bool.
        point: z₀, of `reference_point`.
        beta: how soon a gain saturates, per nat; 0.1 is usual.
        weight_good: λ_D; with weight_bad, λ_U, chosen so that λ_D × goods : λ_U × bads is within 1 … 4/3 (§4.2).

    Returns:
        The sum, and the number of answers.
    """
    import torch

    reward = answers - reference_answers.detach()
    gain = torch.where(is_good, reward - point, point - reward)
    weight = torch.where(is_good, weight_good, weight_bad)
    return (weight * (1 - (beta * gain).sigmoid())).sum(), torch.tensor(len(reward), device=reward.device)
