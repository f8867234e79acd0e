import ast
from collections import Counter

import pytest

from components.assets import Asset
from components.data import sources
from components.errors import AssetError

MODULE = '''
"""Module."""

class Graph:
    """A grapher Graph holds nodes and the edges between any two of them.

    More about it.
    """

    def degree(self, node):
        """Count the edges of a node."""
        edges = self.edges[node]
        return len(edges)

    def later(self):
        """Will be done by somebody else."""
        raise NotImplementedError

    def cut(self):
        """Say something that goes on
        in the second line."""
        return self.edges or 1

if True:
    async def walk(graph):
        """Walk along L{grapher.Graph} edges until every one was seen, then stop.

        Not this."""
        async for edge in graph:
            print(edge)

def one(): """Short."""; return 1
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "grapher"
    (folder / "tests").mkdir(parents=True)
    (folder / "core.py").write_text(MODULE)
    (folder / "broken.py").write_text("def (:\n")
    (folder / "core_test.py").write_text(MODULE)
    (folder / "tests" / "more.py").write_text(MODULE)
    asset = Asset(
        name="grapher", kind="package", package="grapher", version="1", filename="g.whl", sha256="0", size_bytes=1,
        path="grapher", licence="MIT", names=("grapher",),
    )  # fmt: skip
    monkeypatch.setattr(sources.assets, "get_asset", lambda name: asset)
    monkeypatch.setattr(sources.assets, "unpack", lambda name, settings: folder)
    return asset


def _texts(settings):
    enough = sources.Enough(100, 100, 10**6)
    return sources.read_packages(("grapher",), settings=settings, max_chars=600, enough=enough, seed=0)


def test_descriptions_are_first_paragraphs_without_the_librarys_name_or_markup(package, settings):
    found = {row.text: row for row in _texts(settings).descriptions if not row.reason}
    assert set(found) == {
        "A library Graph holds nodes and the edges between any two of them.",
        "Walk along library.Graph edges until every one was seen, then stop.",
        "Say something that goes on in the second line.",
    }
    row = next(iter(found.values()))
    assert (row.answer, row.source, row.licence, row.group) == ("grapher", "grapher", "MIT", "grapher/core.py")


def test_functions_lose_their_docstring_and_placeholders_are_left_out(package, settings):
    rows = _texts(settings).functions
    good = {row.text: row.answer for row in rows if not row.reason}
    walk = "async def walk(graph):\n    async for edge in graph:\n        print(edge)"
    assert good == {
        "def degree(self, node):\n    edges = self.edges[node]\n    return len(edges)": "Count the edges of a node.",
        walk: "Walk along grapher.Graph edges until every one was seen, then stop.",
    }
    assert {row.reason for row in rows if row.reason} == {"function without a body", "no first line to learn from"}
    for text in good:
        ast.parse(text)


def test_tests_are_no_source_and_a_broken_file_is_rejected(package, settings):
    rows = _texts(settings).documents
    assert {row.group: row.reason for row in rows} == {
        "grapher/core.py": "",
        "grapher/broken.py": "not readable: SyntaxError",
    }


def test_reading_stops_when_there_is_enough(package, settings):
    nothing = sources.Enough(0, 0, 0)
    found = sources.read_packages(("grapher",), settings=settings, max_chars=600, enough=nothing, seed=0)
    assert len({row.group for row in found.documents}) == 1


def test_books_are_no_package(package, settings, monkeypatch):
    monkeypatch.setattr(sources.assets, "get_asset", lambda name: package.model_copy(update={"kind": "books"}))
    with pytest.raises(AssetError, match="is books, not a package"):
        _texts(settings)


def test_a_book_is_cut_at_blank_lines(tmp_path, package, settings, monkeypatch):
    paragraphs = [f"Paragraph {number} of a long enough book, in which nothing happens." for number in range(40)]
    (tmp_path / "grapher" / "book_gut.txt").write_text("\n\n".join(paragraphs))
    monkeypatch.setattr(sources.assets, "get_asset", lambda name: package.model_copy(update={"kind": "books"}))
    rows = sources.read_books("grapher", settings=settings, piece_chars=1000).documents
    assert len(rows) == 3
    assert "\n\n".join(row.text for row in rows) == "\n\n".join(paragraphs)
    assert [row.group for row in rows][:2] == ["grapher/book_gut.txt#000", "grapher/book_gut.txt#001"]


def test_the_interpreters_library_is_labelled_by_its_parts_that_have_most_to_say(tmp_path, monkeypatch):
    for name, number in (("asyncio/a.py", 4), ("email/b.py", 3), ("json.py", 2), ("test/c.py", 9), ("_hidden.py", 9)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        doc = "A description of asyncio or email {} number {} that says a little more than nothing."
        path.write_text(
            "\n".join(f'def f{i}():\n    "{doc.format(path.stem, i)}"\n    return {i}' for i in range(number))
        )
    monkeypatch.setattr(sources.sysconfig, "get_path", lambda name: str(tmp_path))
    found = sources.read_interpreter(max_chars=600, num_labels=2)
    assert Counter(row.answer for row in found.descriptions) == {"asyncio": 4, "email": 3}
    assert not any("email" in row.text or "asyncio" in row.text for row in found.descriptions)
    assert {row.licence for row in found.documents} == {"PSF-2.0"}
