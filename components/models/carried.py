"""What a model that is no transformer knows of the tokens before: a few tensors a row, beside keys and values or alone.

They lie in transformers' own `Cache`, so that whoever writes asks such a model as any other. Its layer for linear
attention keeps tensors at fixed addresses for CUDA graphs; rows that join and leave a batch need them replaced.
"""

from typing import TYPE_CHECKING

from transformers.cache_utils import Cache, LinearAttentionLayer

if TYPE_CHECKING:
    from torch import Tensor


class Carried(LinearAttentionLayer):
    """The states of a recurrence, or the last few tokens: tensors whose first dimension is the batch's."""

    is_compileable = False

    def __init__(self, *states: "Tensor") -> None:
        super().__init__(number_of_states=len(states))
        self.carry(*states)

    @property
    def states(self) -> "tuple[Tensor, ...]":
        """As `carry` was given them, (B, …) each."""
        return tuple(state for state in self.recurrent_states.values() if state is not None)

    def carry(self, *states: "Tensor") -> None:
        """From now on these; there may be more rows, or fewer, than before."""
        for i, state in enumerate(states):
            self.recurrent_states[i] = state
            self.is_recurrent_states_initialized[i] = self.has_previous_state[i] = True
        self.device, self.dtype = states[0].device, states[0].dtype  # type: ignore[assignment]  # None in the library


def carried(cache: Cache) -> Carried:
    """A cache's layer that is carried along: its last one. Raises ValueError for a cache of another kind of model."""
    layer = cache.layers[-1] if cache.layers else None
    if not isinstance(layer, Carried):
        raise ValueError(f"{type(layer).__name__} is no cache of this model: start from none")
    return layer
