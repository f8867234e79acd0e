"""The documents of the workspace and its knowledge graphs, as the data page asks for them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from components.knowledge import Graph, Relation, entity_id
from components.knowledge_files import graph_path, load
from components.retrieval.index import index_of
from components.retrieval.ranking import cite_each, retrieve, see_also
from dashboard.replies import translated

if TYPE_CHECKING:
    from components.settings import Settings

MOST = 6
MOST_DRAWN = 40


@dataclass(frozen=True)
class Hit:
    document: str
    sentence: str
    text: str


@dataclass(frozen=True)
class Hits:
    found: tuple[Hit, ...]
    related: tuple[tuple[str, str], ...]
    """Document, and the rare things that it shares with those that were found."""


@dataclass(frozen=True)
class Drawn:
    """A part of a graph."""

    names: dict[str, str]
    """Entity → as it is written."""
    relations: tuple[Relation, ...]
    num_entities: int
    num_relations: int
    """Of the whole graph."""


def graphs(settings: "Settings") -> tuple[str, ...]:
    """The names of the workspace's graphs."""
    folder = graph_path("any", settings=settings).parent
    return tuple(sorted(path.stem for path in folder.glob("*.jsonld")))


def search(settings: "Settings", query: str, *, graph: str) -> Hits:
    """Passages that fit a query, and related documents where a graph is named; the first time the index is built.

    Raises:
        StoreError: there is no data version, or it cannot be read.
    """
    with translated("data", "the index"):
        known = _graph(settings, graph) if graph else None
        found = retrieve(index_of(settings), query, most=2 * MOST, graph=known)
        cited = cite_each(found, query, most=MOST)
        hits = tuple(Hit(one.passage.document, place.sentence, one.passage.text) for one, place in cited)
        near = see_also(known, list(dict.fromkeys(hit.document for hit in hits))) if known else []
        return Hits(hits, tuple((document, ", ".join(shared[:3])) for document, _, shared in near))


def drawn(settings: "Settings", graph: str, *, entity: str) -> Drawn:
    """What stands around an entity; without one, what stands between the best connected.

    Raises:
        StoreError: there is no such graph, or it is damaged.
    """
    with translated("data", "the graph"):
        whole = _graph(settings, graph)
    if entity:
        relations = whole.neighbours(entity)
    else:
        degree = Counter(end for one in whole.relations for end in (one.subject, one.object))
        centre = {name for name, _ in degree.most_common(MOST_DRAWN // 2)}
        relations = sorted(one for one in whole.relations if {one.subject, one.object} <= centre)
    shown = _one_a_pair(relations)[:MOST_DRAWN]
    names = {end: whole.entities[end].name for one in shown for end in (one.subject, one.object)}
    return Drawn(names, tuple(shown), len(whole.entities), len(whole.relations))


def _one_a_pair(relations: list[Relation]) -> list[Relation]:
    """Of several documents that say the same, one."""
    return list({(one.subject, one.type, one.object): one for one in reversed(relations)}.values())[::-1]


def dot(shown: Drawn, *, centre: str, named: Callable[[str], str] = str) -> str:
    """For Graphviz: a box an entity, an arrow a relation, which `named` puts into the page's language."""
    lines = ["digraph {", 'graph [rankdir=LR bgcolor="transparent"]', 'node [shape=box style="rounded" fontsize=11]']
    middle = entity_id(centre)
    for key, name in sorted(shown.names.items()):
        lines.append(f"{_quoted(key)} [label={_quoted(name)}{' penwidth=2.5' if key == middle else ''}]")
    for one in shown.relations:
        lines.append(f"{_quoted(one.subject)} -> {_quoted(one.object)} [label={_quoted(named(one.type))} fontsize=9]")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def _graph(settings: "Settings", name: str) -> Graph:
    path = graph_path(name, settings=settings)
    return _loaded(settings, name, path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=2)
def _loaded(settings: "Settings", name: str, _: Path, __: int) -> Graph:
    return load(name, settings=settings)
