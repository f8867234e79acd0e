"""Keys and values with room behind them: the next token's are written into it.

`DynamicLayer` copies all that there is for each token: at 32 texts of 200 tokens in SmolLM2, 150 MB a token.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

LEAST_ROOM_TOKENS = 64


class GrowingLayer(DynamicLayer):
    """One layer's keys and values (B, H, T, D), which somebody else may replace at any time."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._rooms: tuple[torch.Tensor, torch.Tensor] | None = None
        self._written: torch.Tensor | None = None
        """`keys` as they were left here: others mean that the rooms hold something else."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the new tokens' behind the others; gives all of them, as views."""
        assert self.keys is not None and self.values is not None
        length = self.keys.shape[2]
        end = length + key_states.shape[2]
        if self._rooms is None or self.keys is not self._written or end > self._rooms[0].shape[2]:
            capacity = end + max(LEAST_ROOM_TOKENS, length // 2)
            rooms = []
            for kept in (self.keys, self.values):
                room = kept.new_empty((*kept.shape[:2], capacity, kept.shape[3]))
                room[:, :, :length] = kept
                rooms.append(room)
            self._rooms = (rooms[0], rooms[1])
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, length:end] = new
        self.keys, self.values = (room[:, :, :end] for room in self._rooms)
        self._written = self.keys
        return self.keys, self.values


def growing(cache: Any) -> Any:
    """The same cache with such layers; what is carried along beside keys and values stays as it is."""
    for i, layer in enumerate(cache.layers):
        if isinstance(layer, DynamicLayer):
            assert layer.keys is not None and layer.values is not None
            cache.layers[i] = GrowingLayer(layer.keys, layer.values)
    return cache
