"""What is found for a question: BM25, helped by the knowledge graph and, where asked for, by sentence embeddings."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.knowledge import Graph, mentioned, related
from components.retrieval.index import Found, Index
from components.retrieval.passages import defined, sentence_spans, words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CANDIDATES = 40
"""Passages by BM25 of which the others may change the order."""
FUSION = 60
"""Reciprocal rank fusion's constant (Cormack, Clarke and Büttcher 2009)."""
GRAPH_WEIGHT = 0.05
"""Of the graph's order beside the others': at equal weight it took the right file from the first place in a fifth of
the questions (docs/benchmarks.md); so it moves a document by some three places at most."""

_COMMON_WORDS = """a an and are as at be by do does for from had has have how in is it of on or that the their they
this to was were what when where which who why will with"""
_COMMON = frozenset(_COMMON_WORDS.split())
"""Words that a question has whatever it asks for."""

Embed = Callable[[Sequence[str]], "npt.NDArray[np.float32]"]
"""Texts → vectors of length 1, (texts, dimensions)."""


@dataclass(frozen=True)
class Citation:
    """Where something is said: a document and a sentence of it."""

    document: str
    sentence: str
    start: int
    """Of the sentence in its document, in characters."""
    source: str = ""
    licence: str = ""
    heading: str = ""
    """What its passage stands under."""
    is_verbatim: bool = False
    """Whether the passage has the whole answer word for word. A good answer in other words has it not either."""


def retrieve(
    index: Index, question: str, *, most: int = 5, graph: Graph | None = None, embed: Embed | None = None
) -> list[Found]:
    """The passages that are likeliest to answer a question, best first.

    With a graph, documents that speak of what the question names move up; with `embed`, passages that mean the like.
    Orders are put together by reciprocal rank fusion.
    """
    found = index.search(question, most=CANDIDATES)
    orders = [(1.0, list(range(len(found))))]
    if graph is not None and (weights := _named_documents(graph, question)):
        named = [i for i, one in enumerate(found) if one.passage.document in weights]
        orders.append((GRAPH_WEIGHT, sorted(named, key=lambda i: (-weights[found[i].passage.document], i))))
    if embed is not None and found:
        vectors = embed([question, *(one.passage.text for one in found)])
        near = vectors[1:] @ vectors[0]
        orders.append((1.0, sorted(range(len(found)), key=lambda i: (-float(near[i]), i))))
    scores = [0.0] * len(found)
    for weight, order in orders:
        for rank, i in enumerate(order, start=1):
            scores[i] += weight / (FUSION + rank)
    best = sorted(range(len(found)), key=lambda i: (-scores[i], i))[:most]
    return [replace(found[i], score=scores[i]) for i in best]


def _named_documents(graph: Graph, question: str) -> dict[str, float]:
    """Document → how much of what the question names it speaks of, rare things counting more."""
    weights: dict[str, float] = {}
    for entity in mentioned(graph, question):
        if len(entity.id) < 3 or not entity.documents:
            continue
        for document in entity.documents:
            weights[document] = weights.get(document, 0.0) + 1 / len(entity.documents)
    return weights


def cite(found: Found, question: str, *, answer: str = "") -> Citation:
    """The sentence of a passage that holds the answer; without one, that shares most with the question.

    Words that are rarer in the passage count more, and those that the sentence defines once more; of equal sentences
    the first.
    """
    text = found.passage.text
    spans = sentence_spans(text) or [(0, len(text))]
    asked, said = set(words(question)) - _COMMON, words(answer)
    num_in: dict[str, int] = {}
    held = [set(words(text[a:b])) for a, b in spans]
    for one in held:
        for word in one:
            num_in[word] = num_in.get(word, 0) + 1
    literal = _literal(answer)

    def fit(i: int) -> tuple[float, float]:
        a, b = spans[i]
        of_answer = float(literal is not None and literal.search(text[a:b]) is not None)
        if not of_answer and said:
            of_answer = 0.9 * len(set(said) & held[i]) / len(set(said))
        means = asked & set(words(" ".join(defined(text[a:b]))))
        return of_answer, sum(1 / num_in[word] for word in asked & held[i]) + len(means)

    a, b = spans[max(range(len(spans)), key=lambda i: (*fit(i), -i))]
    passage = found.passage
    whole = _literal(answer.rstrip(" .!?。！？").casefold())
    return Citation(
        passage.document, text[a:b], passage.start + a, passage.source, passage.licence, passage.heading,
        is_verbatim=whole is not None and whole.search(text.casefold()) is not None,
    )  # fmt: skip


def _literal(answer: str) -> re.Pattern[str] | None:
    """Whole words and numbers: a 1 is not said by 1.0e-6, nor by katz_1."""
    within = r"\s+".join(map(re.escape, answer.split()))
    return re.compile(rf"(?<![A-Za-z0-9_])(?<!\d\.){within}(?![A-Za-z0-9_])(?!\.\d)") if within else None


def cite_each(found: Sequence[Found], question: str, *, most: int) -> list[tuple[Found, Citation]]:
    """The first passages with the sentence that each is shown by; one whose sentence is there already is left out."""
    shown: dict[str, tuple[Found, Citation]] = {}
    for one in found:
        place = cite(one, question)
        shown.setdefault(" ".join(place.sentence.split()).casefold(), (one, place))
    return list(shown.values())[:most]


def see_also(graph: Graph, documents: Sequence[str], *, most: int = 5) -> list[tuple[str, float, list[str]]]:
    """Documents related to those that were found, by the rare things that they speak of: what to read next."""
    best: dict[str, tuple[str, float, list[str]]] = {}
    for document in documents:
        for other, score, shared in related(graph, document, most=most + len(documents)):
            if other not in documents and (other not in best or best[other][1] < score):
                best[other] = (other, score, shared)
    return sorted(best.values(), key=lambda one: (-one[1], one[0]))[:most]


def minilm(folder: Path, *, max_tokens: int = 256) -> Embed:
    """Embeddings by a sentence encoder: the mean of its last hidden states, of length 1 (Reimers and Gurevych 2019)."""
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()

    def embed(texts: Sequence[str]) -> "npt.NDArray[np.float32]":
        out = np.zeros((len(texts), model.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for at in range(0, len(order), 16):
            some = order[at : at + 16]
            inputs = tokenizer(
                [texts[i] for i in some], truncation=True, max_length=max_tokens, padding=True, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = model(**inputs).last_hidden_state  # (B, T, C)
            mask = inputs["attention_mask"][..., None]  # (B, T, 1)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            out[some] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return out

    return embed
