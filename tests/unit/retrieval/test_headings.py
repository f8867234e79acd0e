"""What a passage stands under, and that it stays the document's own text."""

import pytest

from components.retrieval.headings import heading_of, headings
from components.retrieval.index import build
from components.retrieval.passages import Passage, cut, defined, passages_in
from components.retrieval.ranking import cite, retrieve

CODE = '''"""Walks on graphs."""

import os


@cached
def rank(graph, alpha=0.85):
    """Rank nodes.

    Parameters
    ----------
    alpha : float, optional
        Damping parameter, default=0.85.
    """
    def step(node):
        return alpha * node
    return step(graph)


class Walk:
    """One walk."""

    def length(self):
        return 1


LIMIT = 3
'''
MARKDOWN = "Before.\n\n# Banyan\n\nA tree.\n\n## Install\n\n```\n# no title\n```\nBy pip.\n\n# Licence\n\nFree.\n"
RST = "Banyan\n======\n\nA tree.\n\nInstall\n-------\n\nBy pip.\n\nLicence\n=======\n\nFree.\n"


def under(text: str, document: str, place: str) -> str:
    start = text.index(place)
    return heading_of(headings(text, document), start, start + len(place))


@pytest.mark.parametrize(
    ("place", "heading"),
    [
        ("import os", ""),
        ("@cached", "rank"),
        ("Damping", "rank"),
        ("alpha * node", "rank.step"),
        ("return step(", "rank"),
        ("One walk", "Walk"),
        ("return 1", "Walk.length"),
        ("LIMIT", ""),
        ("return step(graph)\n\n\nclass Walk:", "rank, Walk"),
    ],
)
def test_code_stands_under_its_functions_and_classes(place, heading):
    assert under(CODE, "walks.py", place) == heading


@pytest.mark.parametrize(("text", "name"), [(MARKDOWN, "a.md"), (RST, "a.rst")])
def test_texts_stand_under_their_titles(text, name):
    assert under(text, name, "A tree") == "Banyan"
    assert under(text, name, "By pip") == "Banyan > Install"
    assert under(text, name, "Free") == "Licence"


def test_what_stands_under_nothing_has_no_heading():
    assert under(MARKDOWN, "a.md", "Before") == ""
    assert headings(MARKDOWN, "a.txt") == []
    assert headings("def broken(:\n  pass", "a.py") == []
    assert headings("x = '\0'", "a.py") == []
    assert [at for at, _ in headings("#" * 9 + " no\n# " + "t" * 900, "a.md")] == [13]
    assert len(headings("# " + "t" * 900, "a.md")[0][1]) < 200


@pytest.mark.parametrize("name", ["walks.py", "walks.md", "walks"])
def test_passages_are_the_documents_own_text_at_their_place(name):
    text = CODE * 3
    found = list(passages_in(Passage(name, 0, text, "ours", "free")))
    assert all(text[one.start :].startswith(one.text) for one in found)
    assert "".join(text.split()) == "".join("".join(one.text.split()) for one in found)
    assert {(one.document, one.source, one.licence) for one in found} == {(name, "ours", "free")}


def test_a_passage_of_some_length_ends_where_something_else_begins():
    text = "".join(f"Sentence {i} says so. " for i in range(40))
    at = text.index("Sentence 17 ")
    pieces = list(cut(text, size=400, breaks=[at, at + 3]))
    assert at in [start for start, _ in pieces]
    assert "".join(text.split()) == "".join("".join(piece.split()) for _, piece in pieces)
    assert all(text[start : start + len(piece)] == piece for start, piece in pieces)


def test_a_parameter_is_found_under_its_own_function(tmp_path):
    names = ("rank", "walk", "flow", "cut")
    texts = {f"{name}.py": CODE.replace("rank", name).replace("0.85", f"0.{i}5") for i, name in enumerate(names)}
    passages = (one for name, text in texts.items() for one in passages_in(Passage(name, 0, text)))
    index = build(passages, tmp_path / "walks.sqlite")
    for i, name in enumerate(names):
        question = f"What is the default of alpha in {name}?"
        [found] = retrieve(index, question, most=1)
        assert found.passage.document == f"{name}.py"
        assert name in found.passage.heading.split(", ")
        assert found.passage.shown == f"{found.passage.heading}: {found.passage.text}"
        place = cite(found, question)
        assert f"default=0.{i}5" in place.sentence
        assert texts[f"{name}.py"][place.start :].startswith(place.sentence)


def test_names_that_a_list_says_the_meaning_of_are_told_from_other_words():
    text = "alpha : float\n    Of beta.\nx, y : int\n* port: where it listens\n`host`: name\nsee http://a.b\nif a:\n"
    assert [one.strip() for one in defined(text)] == ["alpha", "x", "y", "port", "host"]
