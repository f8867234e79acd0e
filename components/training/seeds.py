"""Every random draw is a function of (seed, what for), never of what ran before (design D7)."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: distinct purposes, independent streams."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def generator(seed: int, *purpose: str | int) -> "torch.Generator":
    """A CPU generator for one purpose."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *purpose))


class RowOrder:
    """Which rows each step takes: permutation after permutation, one an epoch, none depending on another."""

    def __init__(self, *, num_rows: int, rows_per_step: int, seed: int) -> None:
        self.num_rows, self.rows_per_step, self.seed = num_rows, rows_per_step, seed
        self._epoch, self._order = -1, list[int]()

    def rows(self, step: int) -> list[int]:
        """Row numbers of step 0, 1, …: `rows_per_step` of them, across an epoch's end where it falls so."""
        first = step * self.rows_per_step
        return [self._at(position) for position in range(first, first + self.rows_per_step)]

    def _at(self, position: int) -> int:
        import torch

        epoch, place = divmod(position, self.num_rows)
        if epoch != self._epoch:  # the last permutation is kept, because steps mostly stay in one epoch
            self._order = torch.randperm(self.num_rows, generator=generator(self.seed, "order", epoch)).tolist()
            self._epoch = epoch
        return self._order[place]
