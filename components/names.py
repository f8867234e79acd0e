"""Names of persons found by a registered model of the entities task; ingest masks what it finds where a recipe asks.

Patterns cannot tell a name. What a model finds depends on what it learned from: a recipe names one that was measured.
"""

from typing import TYPE_CHECKING, Any

from components.data.privacy import Span
from components.errors import RecipeError
from components.settings import Settings

if TYPE_CHECKING:
    from components.tasks.base import Task

PERSON = frozenset({"per", "pers", "person", "persons", "people", "人名", "人物"})
"""What people call the type, in any case."""
BATCH_SIZE = 64


class NameFinder:
    """A model with its tokenizer; gives the persons in texts."""

    def __init__(self, model: str, task: "Task", network: Any, tokenizer: Any) -> None:
        self.model = model
        """Which version it is, e.g. `banyan-people@3`."""
        self._task, self._network, self._tokenizer = task, network, tokenizer

    def __call__(self, texts: list[str]) -> list[list[Span]]:
        """For each text the persons in it, in order."""
        import json

        found: list[list[Span]] = []
        for start in range(0, len(texts), BATCH_SIZE):
            answers = self._task.answer(self._network, self._tokenizer, texts[start : start + BATCH_SIZE])
            for answer in answers:
                persons = [span for span in json.loads(answer.output or "[]") if span["type"].casefold() in PERSON]
                found.append([Span("NAME", span["start"], span["end"]) for span in persons])
        return found


def find_names(which: str, *, settings: Settings) -> NameFinder:
    """The finder of a registered model, `banyan-people` for its champion or `banyan-people@3`.

    Raises:
        RecipeError: there is no such version, or it does not mark persons.
        RegistryUnavailable, ServiceDown: the registry does not answer.
    """
    from components.registered import open_model

    try:
        opened = open_model(which, "entities", settings=settings)
    except RecipeError as err:
        raise RecipeError(f"names_model: {err.message}", err.remedy) from err
    task, network, tokenizer = opened.task, opened.network, opened.tokenizer
    kinds = {str(label).partition("-")[2].casefold() for label in (network.config.id2label or {}).values()}
    if not kinds & PERSON:
        shown = ", ".join(sorted(filter(None, kinds))) or "nothing"
        raise RecipeError(
            f"names_model: {which} marks {shown}",
            f"train one with a type that is called one of {', '.join(sorted(PERSON))}",
        )
    return NameFinder(opened.model, task, network, tokenizer)
