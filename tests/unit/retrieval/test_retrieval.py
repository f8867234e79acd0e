"""Passages, the index and what is found in it, on documents written for this test."""

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.data.tables import write_split, write_table_info
from components.errors import DataStoreError, UsageError
from components.knowledge import Graph
from components.retrieval.index import Found, Index, build
from components.retrieval.passages import Passage, cut, default_tables, passages_of, sentence_spans, words
from components.retrieval.ranking import cite, cite_each, retrieve, see_also

DOCUMENTS = {
    "fig.md": "A banyan is a fig tree. It drops roots from its branches. The roots become trunks after some years.",
    "oak.md": "An oak is a tree. Oaks bear acorns in autumn. They lose their leaves in winter.",
    "graph.py": "def add_node(graph, node, weight=0.85):\n    '''Add a node. weight : float, default 0.85.'''",
    "中文.md": "榕树是一种树。它的气根会变成新的树干。",
    "ends.md": "The café opens at 8 a.m. on weekdays, e.g. Mondays. It closes at noon.",
}


@pytest.fixture
def index(tmp_path) -> Index:
    passages = (Passage(name, start, piece) for name, text in DOCUMENTS.items() for start, piece in cut(text))
    return build(passages, tmp_path / "some.sqlite")


def documents(found) -> list[str]:
    return [one.passage.document for one in found]


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("What drops roots from its branches?", "fig.md"),
        ("which tree bears acorns", "oak.md"),
        ("ADD NODE weight", "graph.py"),
        ("树干", "中文.md"),
        ("cafe on Monday", "ends.md"),
    ],
)
def test_a_question_finds_the_document_that_speaks_of_it(index, query, document):
    assert documents(index.search(query))[0] == document


@pytest.mark.parametrize("query", ["", "   ", "?!…", "\x00", "zzzz", '"', "NEAR(", "a" * 100_000])
def test_what_names_nothing_finds_nothing(index, query):
    assert index.search(query) == []


@pytest.mark.parametrize("query", ['"oak" OR', "oak AND NOT", "oak*", "words:oak", "oak) (", "‮oak‬", "oak\x00"])
def test_the_query_language_of_the_engine_cannot_be_spoken(index, query):
    assert documents(index.search(query))[0] == "oak.md"


def test_passages_cover_the_text_and_say_where_they_stand():
    text = "\n\n".join(f"Paragraph {i} says this. And it says that, for {i} reasons." for i in range(60))
    pieces = list(cut(text, size=200))
    assert all(text[start : start + len(piece)] == piece for start, piece in pieces)
    assert "".join(text.split()) == "".join("".join(piece.split()) for _, piece in pieces)
    assert max(len(piece) for _, piece in pieces) <= 400
    assert len(pieces) > 5


def test_a_text_without_an_end_is_cut_all_the_same():
    pieces = list(cut("x" * 10_000, size=300))
    assert sum(len(piece) for _, piece in pieces) == 10_000
    assert max(len(piece) for _, piece in pieces) <= 600


def test_an_abbreviation_ends_no_sentence():
    text = DOCUMENTS["ends.md"]
    assert [text[a:b] for a, b in sentence_spans(text)][-1] == "It closes at noon."
    assert not any(text[a:b] == "Mondays." for a, b in sentence_spans(text))


def test_names_of_code_are_found_by_their_parts():
    assert words("DiGraph.add_node") == ["digraph", "di", "graph", "add_node", "add", "node"]


def test_a_citation_is_the_sentence_that_holds_the_answer(index):
    [found] = retrieve(index, "What do the roots become?", most=1)
    place = cite(found, "What do the roots become?", answer="trunks")
    assert place.sentence == "The roots become trunks after some years."
    assert DOCUMENTS["fig.md"][place.start :].startswith(place.sentence)
    assert cite(found, "What is a banyan?").sentence == "A banyan is a fig tree."


def test_a_graph_moves_up_the_document_that_speaks_of_what_is_named(tmp_path):
    texts = {"a.md": "The seal sleeps. The seal eats fish.", "b.md": "The seal is broken; wax is red."}
    index = build((Passage(name, 0, text) for name, text in texts.items()), tmp_path / "seals.sqlite")
    graph = Graph()
    graph.add(("seal", "thing"), "uses", ("red wax", "thing"), sentence="A seal uses red wax.", document="b.md")
    assert documents(retrieve(index, "seal")) == ["a.md", "b.md"]
    assert documents(retrieve(index, "seal", graph=graph)) == ["b.md", "a.md"]


def test_meaning_moves_up_what_shares_fewer_words(index):
    def embed(texts):  # the oak is what the first text means, and the fig is what it does not mean
        sense = {"oak": [1, 0], "banyan": [-1, 0]}
        found = [next((v for word, v in sense.items() if word in text.lower()), [0, 1]) for text in texts[1:]]
        return np.array([[1, 0], *found], np.float32)

    query = "the tree whose roots become a banyan, and a node"
    plain = documents(retrieve(index, query))
    assert plain[0] == "fig.md"
    assert len(plain) > 2
    assert documents(retrieve(index, query, embed=embed))[0] == "oak.md"


def test_related_documents_share_rare_things_and_were_not_found_already():
    graph = Graph()
    for document in ("a", "b"):
        graph.mention("banyan", "thing", document)
    graph.mention("oak", "thing", "c")
    assert [other for other, _, _ in see_also(graph, ["a"])] == ["b"]
    assert see_also(graph, ["a", "b"]) == []


def test_rows_of_one_file_are_one_document_and_questions_are_no_part_of_it(tmp_path):
    row = {"licence": "", "origin": "file", "imputed": ""}
    text = "What colour is wax?\nThe wax is red."
    rows = [{"id": "1", "text": text, "answers": "[]", "source": "s", "group": "wax.md", **row},
            {"id": "2", "text": text.replace("What colour", "How red"), "answers": "[]", "source": "s",
             "group": "wax.md", **row}]  # fmt: skip
    write_split(tmp_path, "asked", "train", pd.DataFrame(rows), task="question_answering")
    write_table_info(tmp_path, "asked", task="question_answering", labels=(), licences={})
    assert default_tables(tmp_path) == ("asked",)
    assert list(passages_of(tmp_path, ("asked",))) == [Passage("wax.md", 0, "The wax is red.", "s", "")]
    write_table_info(tmp_path, "books", task="corpus", labels=(), licences={})
    assert default_tables(tmp_path) == ("books",)


def test_nothing_to_look_in_is_said_and_leaves_no_file(tmp_path):
    with pytest.raises(UsageError, match="no text"):
        build(iter(()), tmp_path / "none.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_index_says_what_to_do(tmp_path):
    path = Path(tmp_path / "bad.sqlite")
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 4096)
    with pytest.raises(DataStoreError, match="delete it"):
        Index(path).search("oak")


def test_the_engine_here_has_full_text_search():
    assert "ENABLE_FTS5" in {row[0] for row in sqlite3.connect(":memory:").execute("PRAGMA compile_options")}


def test_a_sentence_that_several_passages_hold_is_shown_once():
    texts = ["Oaks bear acorns. Figs do not.", "Oaks  bear acorns. Pines bear cones.", "Acorns are eaten."]
    found = [Found(Passage(f"{i}.md", 0, text), 1.0, i) for i, text in enumerate(texts)]
    shown = cite_each(found, "What do oaks bear as acorns?", most=2)
    assert [(one.passage.document, place.document) for one, place in shown] == [("0.md", "0.md"), ("2.md", "2.md")]
