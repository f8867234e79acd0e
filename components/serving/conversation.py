"""A conversation with the workspace's documents: what is retrieved for a turn, who answers, and what is cited."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import MappingError
from components.retrieval.index import Found, index_of
from components.retrieval.queries import query_of
from components.retrieval.ranking import Citation, cite, retrieve, see_also
from components.serving import problems
from components.serving.messages import MAX_INPUT_CHARS
from components.tasks.base import from_json
from components.tasks.dialogue import NOT_SAID, Conversation, cited, without_citations

if TYPE_CHECKING:
    from components.knowledge import Graph
    from components.serving.batching import Batcher
    from components.settings import Settings
    from components.tasks.base import Answer

CONVERSES = frozenset({"dialogue", "question_answering"})
"""Tasks that answer the last of several turns: one writes, the other points into a document."""


@dataclass(frozen=True)
class Asked:
    """A turn and what was found for it."""

    turns: tuple[str, ...]
    """Alternating, the user's first and last."""
    system: str = ""
    found: tuple[Found, ...] = ()

    @property
    def question(self) -> str:
        return self.turns[-1]

    def as_text(self) -> str:
        """As the ledger keeps it: without the oldest turns where they are too long together."""
        turns, passages = self.turns, tuple(one.passage.shown for one in self.found)
        while True:
            text = Conversation(turns, passages, self.system).as_text()
            if len(text) <= MAX_INPUT_CHARS or (len(turns) < 3 and not passages):
                return text
            turns, passages = (turns[2:], passages) if len(turns) > 2 else (turns, passages[:-1])


def turns_of(messages: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], str]:
    """(role, text) → alternating turns, and what the system says. Several of one role in a row are one turn.

    Raises:
        Unprocessable: the last is not the user's, or a role has no place here.
    """
    system, said = [], list[tuple[str, str]]()
    for role, text in messages:
        if role in {"system", "developer"} and not said:
            system.append(text.strip())
        elif role in {"user", "assistant"} and text.strip():
            if said and said[-1][0] == role:
                text = f"{said.pop()[1]}\n{text}"
            said.append((role, text))
        else:
            raise problems.Unprocessable(
                f"a message of role {role} has no place here, or is empty",
                "send system messages first, then user and assistant by turns",
            )
    if said and said[0][0] == "assistant":  # a greeting
        said = said[1:]
    if not said or said[-1][0] != "user":
        raise problems.Unprocessable("the last message is not the user's", "end with a message of role user")
    return tuple(text for _, text in said), "\n".join(filter(None, system))


def look_up(turns: tuple[str, ...], system: str, *, most: int, graph: str, settings: "Settings") -> Asked:
    """The turn with the passages that fit it best; blocks, the first time for the index to be built.

    Raises:
        UsageError, MappingError, DataStoreError: as `index_of`; there is no such graph.
    """
    known = _graph(graph, settings) if graph else None
    found = retrieve(index_of(settings), query_of(turns), most=most, graph=known) if most else []
    return Asked(turns, system, tuple(found))


def related_of(citations: Sequence[Citation], *, graph: str, settings: "Settings") -> list[dict[str, Any]]:
    """Documents to read next, by the graph; none without one."""
    if not graph or not citations:
        return []
    near = see_also(_graph(graph, settings), list(dict.fromkeys(one.document for one in citations)))
    return [{"document": other, "score": score, "shared": shared} for other, score, shared in near]


def citations_of(asked: Asked, output: str) -> list[dict[str, Any]]:
    """What an answer names by its number: document, sentence and where it stands; `number` is the passage's."""
    named = [number for number in cited(output) if 1 <= number <= len(asked.found)]
    # A number is no word of the answer, and a follow-up says less of what is asked than the turn before it.
    said, question = without_citations(output), query_of(asked.turns)
    return [_row(number, cite(asked.found[number - 1], question, answer=said)) for number in named]


def retrieved(asked: Asked) -> list[dict[str, Any]]:
    """Every passage that the model was shown, by its number, and what it stands under."""
    return [
        {
            "number": i,
            "document": one.passage.document,
            "heading": one.passage.heading,
            "start": one.passage.start,
            "text": one.passage.text,
        }
        for i, one in enumerate(asked.found, start=1)
    ]


def _row(number: int, place: Citation) -> dict[str, Any]:
    return {
        "number": number,
        "document": place.document,
        "heading": place.heading,
        "sentence": place.sentence,
        "verbatim": place.is_verbatim,
        "start": place.start,
        "source": place.source,
        "licence": place.licence,
    }


@dataclass(frozen=True)
class Pointed:
    """What a model that points into texts says: in which of them, and how the user reads it."""

    text: str
    """What it was asked, as the ledger keeps it."""
    answer: "Answer"
    content: str
    citations: list[dict[str, Any]]


async def point(batcher: "Batcher", asked: Asked) -> Pointed:
    """The surest answer of all passages, each asked by itself; where none holds one, that of the best passage."""
    question = " ".join(query_of(asked.turns).split())
    if not asked.found:
        raise problems.Unprocessable("nothing in the documents fits the question", "ask in other words")
    texts = [f"{question}\n{one.passage.text}"[:MAX_INPUT_CHARS] for one in asked.found]
    answers = await asyncio.gather(*(asyncio.wrap_future(batcher.submit(text)) for text in texts))
    said = [_said(answer.output) for answer in answers]
    best = max(range(len(texts)), key=lambda i: (bool(said[i]), answers[i].confidence if said[i] else -i, -i))
    if not said[best]:
        return Pointed(texts[best], answers[best], NOT_SAID, [])
    place = cite(asked.found[best], question, answer=said[best])
    return Pointed(texts[best], answers[best], f"{said[best]} [{best + 1}]", [_row(best + 1, place)])


def _said(output: str) -> str:
    try:
        found = from_json(output)
    except ValueError:
        return ""
    return str(found.get("answer") or "") if isinstance(found, dict) else ""


def _graph(name: str, settings: "Settings") -> "Graph":
    from components.knowledge_files import graph_path

    path = graph_path(name, settings=settings)
    if not path.is_file():
        raise MappingError(f"there is no graph {name!r}", "build it: banyan graph build")
    return _loaded(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _loaded(path: Path, _: int) -> "Graph":
    from components.knowledge_files import read_jsonld

    return read_jsonld(path.read_text("utf-8"))
