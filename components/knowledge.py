"""A knowledge graph: entities and typed relations, each with the sentence and the document that support it.

Graphs of single documents are merged by normalised name, so that what several documents say of one thing stands
together; documents that share rare entities are related.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

RELATIONS = {
    "contains": "module or class → what is defined in it",
    "imports": "module → module",
    "inherits": "class → base class",
    "raises": "function → exception",
    "see_also": "what its author refers the reader to",
    "is_a": "thing → kind of thing",
    "part_of": "thing → whole",
    "uses": "thing → what it needs",
    "returns": "function → thing",
    "based_on": "thing → method or thing it follows",
    "made_by": "thing → maker",
    "replaces": "thing → what it supersedes",
    "located_in": "thing → place",
}
"""Every type of relation, and what it goes from and to."""


@dataclass(frozen=True)
class Entity:
    """What is spoken of. `id` is the normalised name."""

    id: str
    name: str
    """As the first document writes it."""
    kind: str
    """module | class | function | exception | thing | name."""
    documents: frozenset[str] = frozenset()


@dataclass(frozen=True, order=True)
class Relation:
    """`subject` and `object` are ids of entities; `sentence` stands in `document` and supports it."""

    subject: str
    type: str
    object: str
    sentence: str
    document: str


@dataclass
class Graph:
    entities: dict[str, Entity] = field(default_factory=dict)
    relations: set[Relation] = field(default_factory=set)

    def add(
        self, subject: "tuple[str, str]", kind_of: str, target: "tuple[str, str]", *, sentence: str, document: str
    ) -> None:
        """A relation between two (name, kind); nothing where a name is empty or both are one.

        Raises:
            KeyError: no such type of relation.
        """
        RELATIONS[kind_of]
        ends = []
        for name, kind in (subject, target):
            key = entity_id(name)
            if not key:
                return
            ends.append(key)
            self.mention(name, kind, document)
        if ends[0] != ends[1]:
            self.relations.add(Relation(ends[0], kind_of, ends[1], one_line(sentence), document))

    def mention(self, name: str, kind: str, document: str) -> None:
        """The entity is spoken of in the document."""
        key = entity_id(name)
        there = self.entities.get(key)
        if there is None:
            self.entities[key] = Entity(key, one_line(name), kind, frozenset([document]))
        else:
            better = kind if _RANK.get(kind, 9) < _RANK.get(there.kind, 9) else there.kind
            self.entities[key] = replace(there, kind=better, documents=there.documents | {document})

    def neighbours(self, name: str) -> list[Relation]:
        """The relations in which an entity stands, sorted."""
        key = entity_id(name)
        return sorted(r for r in self.relations if key in (r.subject, r.object))

    def documents(self) -> list[str]:
        """Every document, sorted."""
        return sorted({document for entity in self.entities.values() for document in entity.documents})


_RANK = {"exception": 0, "class": 1, "function": 2, "module": 3, "thing": 5, "name": 6}
"""Which of two kinds an entity keeps: what was seen defined knows better than what was read about."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def one_line(text: str) -> str:
    """NFC, no control characters (XML has none), every run of spaces one space."""
    return " ".join(_CONTROL.sub(" ", unicodedata.normalize("NFC", text)).split())


_PLURAL = re.compile(r"(?<=[a-z]{2})(?<![suiao])s$")
_PLURAL_ES = re.compile(r"(?<=(?:ch|sh))es$|(?<=[sxz])es$")
_PLURAL_IES = re.compile(r"(?<=[a-z]{2})ies$")


def entity_id(name: str) -> str:
    """What two names must share to be one entity: NFKC, case folded, no leading article, words singular.

    A name that is spelled as code (dots, underscores, inner capitals) keeps its dots and is not made singular.
    """
    plain = one_line(unicodedata.normalize("NFKC", name)).strip("`'\"()[]{}<>,;:!?*“”‘’ ").strip(".")
    is_code = bool(re.search(r"[._]|[a-z][A-Z]", plain))
    plain = plain.casefold()
    if is_code:
        return plain
    words = re.sub(r"[-\s]+", " ", re.sub(r"^(?:the|an?|its|this|these|that|those)\s+", "", plain)).split()
    if words:
        last = _PLURAL_IES.sub("y", words[-1])
        words[-1] = _PLURAL_ES.sub("", last) if _PLURAL_ES.search(last) else _PLURAL.sub("", last)
    return " ".join(words)


def merge(graphs: Iterable[Graph]) -> Graph:
    """One graph of many: equal ids are one entity, and a short name becomes the one full name that ends in it.

    `Graph` in one document and `networkx.classes.graph.Graph` in another are one if no other full name ends so.
    """
    whole = Graph()
    for graph in graphs:
        for entity in graph.entities.values():
            for document in sorted(entity.documents):
                whole.mention(entity.name, entity.kind, document)
        whole.relations |= graph.relations
    full: dict[str, set[str]] = defaultdict(set)
    for key in whole.entities:
        if "." in key:
            full[key.rpartition(".")[2]].add(key)
    same = {
        short: next(iter(found))
        for short, found in full.items()
        if short in whole.entities and len(found) == 1 and _is_spelled_as_code(whole.entities[short].name)
    }
    for short, key in same.items():
        gone = whole.entities.pop(short)
        for document in sorted(gone.documents):
            whole.mention(whole.entities[key].name, gone.kind, document)
    moved = (
        replace(r, subject=same.get(r.subject, r.subject), object=same.get(r.object, r.object)) for r in whole.relations
    )
    whole.relations = {r for r in moved if r.subject != r.object}
    return whole


def _is_spelled_as_code(name: str) -> bool:
    """`Graph` in prose could be anybody's graph: only what no prose spells so is taken for the defined thing."""
    return bool(re.search(r"_|[a-z][A-Z]|^[A-Z]\w*(?:Error|Exception|Warning)$", name))


def related(graph: Graph, document: str, *, most: int = 10) -> list[tuple[str, float, list[str]]]:
    """Other documents by what they speak of: (document, score in [0, 1], the rarest shared names), best first.

    The cosine of entity vectors weighted by inverse document frequency (Spärck Jones 1972).
    """
    num_documents = max(1, len(graph.documents()))
    weights = {key: math.log(num_documents / len(e.documents)) for key, e in graph.entities.items() if e.documents}
    lengths: Counter[str] = Counter()
    shared: dict[str, list[str]] = defaultdict(list)
    for key, entity in graph.entities.items():
        for other in entity.documents:
            lengths[other] += weights[key] ** 2  # type: ignore[assignment]  # Counter of float
            if other != document and document in entity.documents and weights[key] > 0:
                shared[other].append(key)
    scores = []
    for other, keys in shared.items():
        score = sum(weights[key] ** 2 for key in keys) / math.sqrt(lengths[document] * lengths[other])
        rarest = sorted(keys, key=lambda key: (-weights[key], key))[:5]
        scores.append((other, score, [graph.entities[key].name for key in rarest]))
    return sorted(scores, key=lambda row: (-row[1], row[0]))[:most]


def mentioned(graph: Graph, text: str, *, most: int = 10) -> list[Entity]:
    """The graph's entities that a text names, the longest names first: what retrieval may widen a question by."""
    words = re.findall(r"[\w.]+", text)
    found: dict[str, Entity] = {}
    for length in range(min(5, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            key = entity_id(" ".join(words[start : start + length]))
            if key in graph.entities:
                found.setdefault(key, graph.entities[key])
    return sorted(found.values(), key=lambda e: (-len(e.id), e.id))[:most]


def counts(graph: Graph) -> dict[str, int]:
    """Type of relation → how many, the most frequent first."""
    return dict(Counter(r.type for r in graph.relations).most_common())


def sample(relations: Sequence[Relation], number: int, *, seed: int = 0) -> list[Relation]:
    """So many of them for a person to judge, drawn by the seed."""
    import random

    return random.Random(seed).sample(sorted(relations), min(number, len(relations)))
