"""Weights that are not the last ones: a mean along the way, and the best seen.

Both are kept as an optimizer keeps its moments, because that is what a checkpoint takes: so a resumed training has
them bit for bit.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from components.recipes import Training

if TYPE_CHECKING:
    from torch import Tensor


class Averaging(torch.optim.Optimizer):
    """The mean of the weights after each step, instead of the weights (field `averaging`).

    `ema`: a ← d a + (1 − d) w, with d = min(ema_decay, (1 + n) / (10 + n)) at the n-th step, so that the first steps
    do not weigh for ever (Polyak & Juditsky 1992; the ramp is TensorFlow's). `swa`: the even mean over the last
    `swa_share` of the steps (Izmailov et al. 2018, arXiv 1803.05407). Before the first of them: the weights themselves.
    """

    def __init__(self, params: "Iterable[Tensor]", *, recipe: Training, num_steps: int) -> None:
        super().__init__(params, {})
        self._decay = recipe.ema_decay
        self._first = num_steps - math.ceil((recipe.swa_share or 1.0) * num_steps)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights after step 0, 1, …"""
        seen = step - self._first  # steps of the mean before this one
        if seen < 0:
            return
        new = 1 / (seen + 1) if self._decay is None else 1 - min(self._decay, (1 + seen) / (10 + seen))
        for p in self._params():
            if seen == 0:
                self.state[p]["mean"] = p.detach().clone()
            else:
                self.state[p]["mean"].lerp_(p.detach(), new)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The mean in the weights' place; afterwards the weights again, to the last bit."""
        own = {p: p.detach().clone() for p in self._params() if self.state.get(p)}
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                for p, weights in own.items():
                    p.copy_(weights)

    @torch.no_grad()
    def settle(self) -> None:
        """The mean in the weights' place for good."""
        for p in self._params():
            if self.state.get(p):
                p.copy_(self.state[p]["mean"])

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """An optimizer's; `follow` does what there is to do."""
        raise NotImplementedError

    def _params(self) -> "list[Tensor]":
        return [p for group in self.param_groups for p in group["params"]]


class Best(torch.optim.Optimizer):
    """The weights of the evaluation with the lowest held-out loss, and when to stop (field `patience_evaluations`)."""

    def __init__(self, params: "Iterable[Tensor]", *, patience: int) -> None:
        super().__init__(params, {})
        self._patience = patience

    @property
    def loss(self) -> float:
        """The lowest so far; infinite before the first evaluation."""
        return float(self._own.get("loss", math.inf))

    @property
    def is_over(self) -> bool:
        """Whether so many evaluations in a row were no better."""
        return int(self._own.get("since", 0)) >= self._patience

    @torch.no_grad()
    def see(self, loss: float) -> None:
        """The weights of now have this held-out loss. One that is not a number is no better than any."""
        if loss < self.loss or not self._own:
            for p in self._params():
                self.state[p]["best"] = p.detach().clone()
            self._own.update(loss=loss if math.isfinite(loss) else math.inf, since=0)
        else:
            self._own["since"] += 1

    @torch.no_grad()
    def settle(self) -> None:
        """The best weights in place of the last."""
        for p in self._params():
            if self.state.get(p):
                p.copy_(self.state[p]["best"])

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """An optimizer's; `see` does what there is to do."""
        raise NotImplementedError

    @property
    def _own(self) -> dict[str, Any]:
        """Its numbers, kept with the first parameter."""
        state: dict[str, Any] = self.state[self._params()[0]]
        return state

    def _params(self) -> "list[Tensor]":
        return [p for group in self.param_groups for p in group["params"]]
