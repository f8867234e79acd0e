r"""The objectives: what a training makes small, as a sum in nats and the number of targets that it runs over.

A sum and a count, because a step's micro-batches add both up before they are divided: so eight rows at once and eight
times one row are the same step. The mean comes from the loop.

The cross-entropy that all but one are made of is −Σ y log p. For a prediction of p = 0.6 for what is true:

>>> import math
>>> round(-math.log(0.6), 4)
0.5108
>>> import torch
>>> loss, targets = binary(torch.tensor([math.log(0.6 / 0.4)]), torch.tensor([1.0]))
>>> print(f"{loss.item():.4f} nats over {targets.item()} target")
0.5108 nats over 1 target
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from components.errors import RecipeError
from components.recipes import Training
from components.tasks.base import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


def tokens(logits: "Tensor", labels: "Tensor", *, label_smoothing: float = 0.0) -> "tuple[Tensor, Tensor]":
    """A class a token: the next one (causal), the hidden ones (masked), the decoder's (sequence to sequence), a tag.

    Args:
        logits: (B, T, V).
        labels: (B, T), each the class that its own place predicts; IGNORED where there is no loss.
        label_smoothing: share of a target's probability spread over all classes (Szegedy et al. 2016, §7).
    """
    import torch

    flat = labels.reshape(-1)
    summed = torch.nn.functional.cross_entropy(
        logits.float().reshape(len(flat), -1),
        flat,
        reduction="sum",
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )
    return summed, (flat != IGNORED).sum()


def causal(logits: "Tensor", input_ids: "Tensor", *, label_smoothing: float = 0.0) -> "tuple[Tensor, Tensor]":
    """Every token from those before it: logits (B, T, V) against input_ids (B, T) moved by one; IGNORED is left out."""
    return tokens(logits[:, :-1], input_ids[:, 1:], label_smoothing=label_smoothing)


def classification(logits: "Tensor", labels: "Tensor", *, label_smoothing: float = 0.0) -> "tuple[Tensor, Tensor]":
    """One class a text: logits (B, K), labels (B,)."""
    return tokens(logits[:, None], labels[:, None], label_smoothing=label_smoothing)


def binary(logits: "Tensor", labels: "Tensor", *, label_smoothing: float = 0.0) -> "tuple[Tensor, Tensor]":
    """Yes or no: −y log σ(z) − (1 − y) log(1 − σ(z)), logits and labels of one shape, labels in [0, 1]."""
    import torch

    wanted = labels.float() * (1 - label_smoothing) + label_smoothing / 2
    summed = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum")
    return summed, torch.tensor(logits.numel(), device=logits.device)


def span(
    start_logits: "Tensor", end_logits: "Tensor", starts: "Tensor", ends: "Tensor", *, label_smoothing: float = 0.0
) -> "tuple[Tensor, Tensor]":
    """Where an answer begins and ends: two classifications over the places (Devlin et al. 2018, §4.2).

    Logits (B, T); starts and ends (B,), IGNORED where the answer is not in the text.
    """
    first, many = classification(start_logits, starts, label_smoothing=label_smoothing)
    last, _ = classification(end_logits, ends, label_smoothing=label_smoothing)
    return first + last, many


def regression(predictions: "Tensor", values: "Tensor") -> "tuple[Tensor, Tensor]":
    """Squared errors, for a number a text: both (B,). In the values' unit squared, not in nats."""
    import torch

    errors = predictions.float() - values.float()
    return errors.square().sum(), torch.tensor(errors.numel(), device=errors.device)


def adjusted(
    loss: Callable[..., Any], recipe: Training, *, class_weights: "Tensor | None" = None
) -> Callable[..., Any]:
    """A task's loss with the recipe's label smoothing in every cross-entropy that it takes, whoever wrote the task, and
    with the classes weighed: (K,), of mean 1 over the rows, so that the loss stays in its unit.

    Raises:
        RecipeError: from the new loss, when it takes none: smoothing or weights would have no effect.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Adjusting(TorchFunctionMode):
        seen = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = dict(kwargs or {})
            if func is torch.nn.functional.cross_entropy:
                self.seen += 1
                if recipe.label_smoothing:
                    named["label_smoothing"] = recipe.label_smoothing
                if class_weights is not None:
                    named["weight"] = class_weights.to(args[0].device)
            return func(*args, **named)

    def with_adjustment(model: Any, batch: Any) -> Any:
        with Adjusting() as mode:
            found = loss(model, batch)
        if not mode.seen:
            field = "class_weights" if class_weights is not None else "label_smoothing"
            raise RecipeError(f"{recipe.name}: {field}: its loss has no cross-entropy", "leave it out")
        return found

    return with_adjustment


def balanced(labels: "Tensor", num_classes: int) -> "Tensor":
    """(K,) float32: rows over classes times the class's rows (King and Zeng 2001); labels (N,). None of a class: 1."""
    import torch

    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / (int((counts > 0).sum()) * counts.clamp(min=1)), 1.0)
