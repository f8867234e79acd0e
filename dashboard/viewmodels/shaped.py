"""An answer in the shape of its task: spans in their text, an answer in its context, a translation, code, prose."""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.tasks.code import program_of
from dashboard.records import Answered

Kind = Literal["label", "spans", "context", "translation", "code", "text"]


@dataclass(frozen=True)
class Piece:
    """A run of text; `mark` is what it was found to be, empty for what lies between."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Shaped:
    """`pieces` are of the text that was asked about (spans and context), else the answer whole."""

    kind: Kind
    pieces: tuple[Piece, ...]
    question: str = ""
    """Of a question about a context, or what was translated."""
    is_empty: bool = False
    """The model says that there is nothing to be found."""


def shaped(answered: Answered, task: str) -> Shaped:
    """An answer that is not what its task promises is shown as it came."""
    if task == "entities":
        return _spans(answered)
    if task == "multilabel":
        return _labels(answered)
    if task == "question_answering":
        return _context(answered)
    if task == "translation":
        return Shaped("translation", (Piece(answered.output),), answered.question)
    if task == "code":
        return Shaped("code", (Piece(program_of(answered.question, answered.output)),))
    if task == "classification":
        return Shaped("label", (Piece(answered.output),))
    return Shaped("text", (Piece(answered.output),))


def examples(question: str) -> str:
    """The docstring of the function that a text begins, if it holds doctest examples."""
    try:
        tree = ast.parse(f"{question}\n    pass\n")
    except (SyntaxError, ValueError):
        return ""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    docstring = (ast.get_docstring(functions[-1]) or "") if functions else ""
    return docstring if ">>> " in docstring else ""


def _spans(answered: Answered) -> Shaped:
    try:
        found = json.loads(answered.output)
        places = sorted((int(one["start"]), int(one["end"]), str(one["type"])) for one in found)
    except (ValueError, TypeError, KeyError):
        return Shaped("text", (Piece(answered.output),))
    return Shaped("spans", _cut(answered.question, places), is_empty=not places)


def _labels(answered: Answered) -> Shaped:
    try:
        found = [str(one) for one in json.loads(answered.output)]
    except (ValueError, TypeError):
        return Shaped("text", (Piece(answered.output),))
    pieces = [piece for label in found for piece in (Piece(label, " "), Piece(" "))]
    return Shaped("spans", tuple(pieces), is_empty=not found)


def _context(answered: Answered) -> Shaped:
    question, _, context = answered.question.partition("\n")
    moved = len(answered.question) - len(context)
    try:
        found: Mapping[str, Any] = json.loads(answered.output)
        said = found["answer"]
    except (ValueError, TypeError, KeyError):
        return Shaped("text", (Piece(answered.output),))
    if said is None:
        return Shaped("context", (Piece(context),), question, is_empty=True)
    start, end = found.get("start"), found.get("end")
    if not isinstance(start, int) or not isinstance(end, int) or answered.question[start:end] != said:
        return Shaped("text", (Piece(str(said)),))
    return Shaped("context", _cut(context, [(start - moved, end - moved, " ")]), question)


def _cut(text: str, places: list[tuple[int, int, str]]) -> tuple[Piece, ...]:
    pieces, at = [], 0
    for start, end, mark in places:
        if start < at or end > len(text):  # overlapping, or of another text
            continue
        if start > at:
            pieces.append(Piece(text[at:start]))
        pieces.append(Piece(text[start:end], mark))
        at = end
    if at < len(text):
        pieces.append(Piece(text[at:]))
    return tuple(pieces)
