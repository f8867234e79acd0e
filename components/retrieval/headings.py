"""Where in its document a place stands: the function or class of a Python module, the headings of a text."""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath

MAX_CHARS = 120
"""Of a heading: it costs room that a passage could have."""

_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_HASHES = re.compile(r"^ {0,3}(#{1,6})[ \t]+(\S.*?)[ \t#]*$")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$")

Mark = tuple[int, str]
"""From which character on which heading holds, '' for none."""


def headings(text: str, document: str) -> list[Mark]:
    """Where the headings of a document change, in order, by the ending of its name: .py, .md or .rst; else nothing.

    Of Python the names of the classes and functions around a place, `DiGraph.add_node`; of texts the titles,
    `Install > From source`. A module that Python cannot read has none.
    """
    kind = PurePosixPath(document).suffix.casefold()
    if kind == ".py":
        marks = _of_python(text)
    elif kind in {".md", ".markdown"}:
        marks = _of_titles(_hashes(text))
    elif kind == ".rst":
        marks = _of_titles(_underlined(text))
    else:
        return []
    return [(start, name[:MAX_CHARS]) for start, name in marks]


def heading_of(marks: list[Mark], start: int, end: int) -> str:
    """The headings over a run of characters, each once, the first three."""
    over: dict[str, None] = {}
    for i, (begin, name) in enumerate(marks):
        stop = marks[i + 1][0] if i + 1 < len(marks) else end
        if name and begin < end and start < stop:
            over[name] = None
    return ", ".join(list(over)[:3])


def _of_python(text: str) -> list[Mark]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    marks: dict[int, str] = {}

    def walk(node: ast.AST, around: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([child.lineno, *(one.lineno for one in child.decorator_list)])
                name = f"{around}.{child.name}" if around else child.name
                marks[starts[first - 1]] = name
                walk(child, name)
                marks[starts[child.end_lineno or child.lineno]] = around
            elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                walk(child, around)

    walk(tree, "")
    return sorted((start, name) for start, name in marks.items() if start < len(text))


Title = tuple[int, int, str]
"""Where it begins, its depth, and what it says."""


def _of_titles(titles: Iterator[Title]) -> list[Mark]:
    marks, over = [], list[tuple[int, str]]()
    for start, depth, name in titles:
        over = [*(one for one in over if one[0] < depth), (depth, name)]
        marks.append((start, " > ".join(title for _, title in over[-2:])))
    return marks


def _hashes(text: str) -> Iterator[Title]:
    at, fence = 0, ""
    for line in text.split("\n"):
        if found := _FENCE.match(line):
            fence = "" if fence == found[1] else fence or found[1]
        elif not fence and (title := _HASHES.match(line)):
            yield at, len(title[1]), title[2]
        at += len(line) + 1


def _underlined(text: str) -> Iterator[Title]:
    depths: dict[str, int] = {}
    at, before = 0, ""
    for line in text.split("\n"):
        title = before.strip()
        under = _UNDERLINE.match(line)
        if under and title and len(line.rstrip()) >= len(title) and not _UNDERLINE.match(before):
            yield at - len(before) - 1, depths.setdefault(under[1], len(depths)), title
        at, before = at + len(line) + 1, line
