"""Retrieval over the demo's documents: is the file found that a question was made of, and the sentence that answers it?

    make bench NAME=retrieval
    QUESTIONS=50 MEANING=0 make bench NAME=retrieval          # fewer, and without embeddings

Questions are made of numpydoc's parameter lists ("What is the default of alpha in pagerank?"), so that file and answer
are known by construction. Beside the index: passages ranked by the number of words that they share with the question,
and by the cosine of TF-IDF vectors (scikit-learn).
"""

import ast
import json
import os
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components import assets
from components.data import manifests, versioning
from components.data.tables import read_split, split_names
from components.knowledge import Graph, merge
from components.knowledge_files import from_rows
from components.recipes import load_recipe
from components.retrieval.index import Found, Index, build
from components.retrieval.passages import Passage, passages_of, words
from components.retrieval.ranking import cite, minilm, retrieve
from components.settings import Settings, load_settings
from components.tasks.question_answering import questions_of
from components.training.seeds import derive

RECIPE = Path(__file__).parents[2] / "flows/recipes/demo-data.yaml"
TABLES = ("corpus",)
DEPTH = 10

Search = Callable[[str], Sequence[Found]]


@dataclass(frozen=True)
class Question:
    text: str
    document: str
    answer: str


def questions(code: str, document: str) -> list[Question]:
    """One a function at most."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (said := ast.get_docstring(node)):
            for text, answers in questions_of(said):
                if places := json.loads(answers):
                    asked = text.partition("\n")[0].removesuffix("?")
                    found.append(Question(f"{asked} in {node.name}?", document, str(places[0]["answer"])))
                    break
    return found


def by_overlap(passages: Sequence[Passage]) -> Search:
    held = [set(words(one.text)) for one in passages]

    def search(question: str) -> list[Found]:
        asked = set(words(question))
        order = sorted(range(len(passages)), key=lambda i: (-len(asked & held[i]), i))[:DEPTH]
        return [Found(passages[i], float(len(asked & held[i])), i) for i in order]

    return search


def by_tfidf(passages: Sequence[Passage]) -> Search:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(sublinear_tf=True, analyzer=words)
    known = vectors.fit_transform(one.text for one in passages)

    def search(question: str) -> list[Found]:
        scores = (known @ vectors.transform([question]).T).toarray()[:, 0]
        order = np.argsort(-scores, kind="stable")[:DEPTH]
        return [Found(passages[i], float(scores[i]), int(i)) for i in order]

    return search


def measure(search: Search, asked: Sequence[Question]) -> dict[str, Any]:
    """Recall of the file and of a passage with the answer in it; of the first passage, whether the sentence that is
    cited is of the file and holds the answer. Half-widths are of a 95 % normal interval."""
    ranks, right, cited, seconds = [], [], [], []
    for one in asked:
        started = time.perf_counter()
        found = list(search(one.text))
        seconds.append(time.perf_counter() - started)
        documents = list(dict.fromkeys(each.passage.document for each in found))
        ranks.append(documents.index(one.document) + 1 if one.document in documents else DEPTH + 1)
        holds = [each.passage.document == one.document and one.answer in each.passage.text for each in found]
        right.append(holds.index(True) + 1 if True in holds else DEPTH + 1)
        place = cite(found[0], one.text) if found else None
        cited.append(bool(place and place.document == one.document and one.answer in place.sentence))
    n = len(asked)

    def share(hits: Sequence[bool]) -> list[float]:
        p = sum(hits) / n
        return [round(p, 4), round(1.96 * (p * (1 - p) / n) ** 0.5, 4)]

    return {
        **{f"document_recall@{k}": share([rank <= k for rank in ranks]) for k in (1, 5)},
        **{f"passage_recall@{k}": share([rank <= k for rank in right]) for k in (1, 5, 10)},
        "citation_correctness": share(cited),
        "median_ms": round(1000 * float(np.median(seconds)), 2),
    }


def _data(settings: Settings) -> Path:
    ref = manifests.head(settings)
    if ref is None or "corpus" not in ref.tables:
        ref = versioning.ingest(load_recipe(RECIPE), settings=settings, progress=print)
    return versioning.path_of(ref, settings)


def main() -> None:
    settings = load_settings()
    data = _data(settings)
    most = int(os.environ.get("QUESTIONS", "300"))
    passages = list(passages_of(data, TABLES))
    asked: list[Question] = []
    graphs: list[Graph] = []
    for split in split_names(data, "corpus"):
        rows = read_split(data, "corpus", split)
        graphs.append(from_rows(rows))
        for text, group in zip(rows["text"], rows["group"], strict=True):
            asked += questions(text, group)
    asked = sorted(asked, key=lambda one: derive(0, one.text, one.document))[:most]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        index = build(iter(passages), Path(folder) / "bench.sqlite")
        built = time.perf_counter() - started
        found = rank_all(index, passages, asked, merge(graphs), settings)
    about = {"questions": len(asked), "passages": len(passages), "build_seconds": round(built, 2)}
    print(json.dumps({"retrieval": found, **about, "sqlite": sqlite3.sqlite_version}))


def rank_all(
    index: Index, passages: Sequence[Passage], asked: Sequence[Question], graph: Graph, settings: Settings
) -> dict[str, Any]:
    ways: dict[str, Search] = {
        "shared words": by_overlap(passages),
        "TF-IDF": by_tfidf(passages),
        "BM25": lambda question: retrieve(index, question, most=DEPTH),
        "BM25 + graph": lambda question: retrieve(index, question, most=DEPTH, graph=graph),
    }
    if os.environ.get("MEANING", "1") == "1":
        embed = minilm(assets.weights("minilm", settings=settings))
        ways["BM25 + MiniLM"] = lambda question: retrieve(index, question, most=DEPTH, embed=embed)
        ways["BM25 + graph + MiniLM"] = lambda q: retrieve(index, q, most=DEPTH, graph=graph, embed=embed)
    found = {}
    for name, search in ways.items():
        found[name] = measure(search, asked)
        print(f"{name:<22} {json.dumps(found[name])}", flush=True)
    return found


if __name__ == "__main__":
    main()
