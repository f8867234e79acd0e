"""What an ingest asks a model: the model itself comes from outside, and no text is put to it twice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from components.data.readers.parsed import Portions
from components.errors import RecipeError

TEXTS_AT_ONCE = 256
"""What a kill costs at most; of long texts, a minute or so of a model's work."""


class Asked(Protocol):
    """A model that answers texts; `model` says which it is, e.g. `banyan-emoji@3`."""

    model: str

    def __call__(self, texts: list[str]) -> list[str]:
        """For each text what the model says."""
        ...


Models = Callable[[str, str], Asked]
"""From what a recipe calls a model, and its task, to the model."""


class Remembering:
    """A model whose answers are kept while an ingest is not at its end: an interrupted one goes on where it was."""

    def __init__(self, asked: Asked, *, cache: Path | None) -> None:
        self.model, self._asked, self._cache = asked.model, asked, cache

    def __call__(self, texts: list[str]) -> list[str]:
        """For each text what the model says."""
        found: list[str] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            kept = Portions(self._cache, {"asked": self.model, "texts": some})
            answers = kept.get("rows")
            if answers is None:
                answers = self._asked(some)
                kept.keep("rows", answers)
            found += answers
        return found


class AskedModels:
    """The models that one ingest asks, each opened once; `used` says which they were."""

    def __init__(self, models: Models | None, *, cache: Path | None) -> None:
        self._models, self._cache = models, cache
        self.used: dict[str, str] = {}
        """What it was asked for → which version answered."""
        self._open: dict[tuple[str, str], Remembering] = {}

    def get(self, which: str, *, task: str, what: str) -> Remembering:
        """The model that a recipe calls `which`, of a task; `what` it is asked for.

        Raises:
            RecipeError: there is no registry here, or no such model in it.
        """
        if self._models is None:
            raise RecipeError(f"{what} needs the registry", "ingest it through the stack")
        if (which, task) not in self._open:
            try:
                self._open[which, task] = Remembering(self._models(which, task), cache=self._cache)
            except RecipeError as err:
                raise RecipeError(f"{what}: {err.message}", err.remedy) from err
        found = self._open[which, task]
        self.used[what] = found.model
        return found


def labels_for(texts: Sequence[str], asked: Asked, known: Sequence[str], *, closed: bool) -> list[str]:
    """A model's label for each text; with `closed` only those that are known, and '' for others."""
    allowed = set(known)
    return [label if not closed or label in allowed else "" for label in asked(list(texts))]
