"""An answer in the shape of its task: spans in their text, an answer in its context, a translation, code, prose."""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from components.tasks import all_tasks
from components.tasks.base import Task, Writer, column_type
from components.tasks.code import Code, program_of
from components.tasks.translation import Translation
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
    """By what the task's file says: its head, what its target column holds, whose tables it takes.

    An answer that is not what its task promises is shown as it came.
    """
    known = _known(task)
    if isinstance(known, Translation):
        return Shaped("translation", (Piece(answered.output),), answered.question)
    if isinstance(known, Code):
        return Shaped("code", (Piece(program_of(answered.question, answered.output)),))
    holds = known and column_type(known, known.columns[1])
    if known is not None and holds == "json":
        return _json(answered, known)
    return Shaped("label" if holds == "label" else "text", (Piece(answered.output),))


def correction_kind(task: str, *, has_labels: bool) -> Literal["labels", "label", "lines", "line"]:
    """How a right answer is given: some of the labels, one of them, or text of several lines or of one."""
    known = _known(task)
    holds = known and column_type(known, known.columns[1])
    if has_labels:
        return "labels" if holds == "json" else "label"
    return "lines" if holds in {"json", "lines"} else "line"


def writes(task: str) -> bool:
    """Whether its answers can be told while they are written."""
    return isinstance(_known(task), Writer)


def _known(task: str) -> Task | None:
    return next((one for one in all_tasks() if one.name == task), None)


def examples(question: str) -> str:
    """The docstring of the function that a text begins, if it holds doctest examples."""
    try:
        tree = ast.parse(f"{question}\n    pass\n")
    except (SyntaxError, ValueError):
        return ""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    docstring = (ast.get_docstring(functions[-1]) or "") if functions else ""
    return docstring if ">>> " in docstring else ""


def _json(answered: Answered, task: Task) -> Shaped:
    """What a model wrote in words of its own is fitted to its text first, as a correction would be."""
    if task.head == "generator":
        try:
            answered = replace(answered, output=task.fit(answered.question, answered.output))
        except ValueError:
            return Shaped("text", (Piece(answered.output),))
    head = next((one.head for one in all_tasks() if one.name == task.tables), task.head)
    return {"span": _context, "classifier": _labels}.get(head, _spans)(answered)


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
        given = json.loads(answered.output)
        # an answer, or the list of right ones that a target is
        found: Mapping[str, Any] = (given or [{"answer": None}])[0] if isinstance(given, list) else given
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
