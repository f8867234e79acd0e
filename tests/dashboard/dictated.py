"""An engine that writes what it is told to, as slowly as a test wants: what a reader sees in between is the matter."""

import threading
from collections.abc import Sequence

from components.refs import ModelRef
from components.serving.decoding import Draft
from tests.dashboard.installation import KnownEngine


class Dictated:
    """Writes `pieces`, one a step; fails at an exception among them. Before the piece `held` it waits for `go_on`."""

    max_rows = max_joins = 4

    def __init__(self, pieces: Sequence[str | Exception], *, held: int | None = None) -> None:
        self.pieces, self.held, self.go_on = pieces, held, threading.Event()
        self._drafts: list[Draft] = []

    @property
    def num_rows(self) -> int:
        return len(self._drafts)

    def join(self, drafts: Sequence[Draft]) -> None:
        self._drafts += drafts

    def step(self) -> None:
        for draft in list(self._drafts):
            if draft.is_cancelled or len(draft.ids) == len(self.pieces):
                draft.finish("cancelled" if draft.is_cancelled else "stop")
                self._drafts.remove(draft)
            elif len(draft.ids) != self.held or self.go_on.wait(0.05):
                piece = self.pieces[len(draft.ids)]
                if isinstance(piece, Exception):
                    raise piece
                draft.ids.append(len(draft.ids))
                draft.show(draft.shown + piece)

    def fail(self, err: Exception) -> None:
        drafts, self._drafts = self._drafts, []
        for draft in drafts:
            draft.done.set_exception(err)


class Dictating(KnownEngine):
    max_new_tokens = 64

    def __init__(self, ref: ModelRef, *, task: str, decoder: Dictated) -> None:
        super().__init__(ref, task=task)
        self.decoder = decoder  # type: ignore[assignment]
