"""Feedback that was gathered elsewhere: JSONL, and the exports of Label Studio and Argilla.

Read into one form; it then goes the way of all feedback (asked, rated, screened). Nothing here decides what may teach.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import InputFileError, MappingError, UsageError

OPINION = ("feedback_id", "request_id", "kind", "correction", "comment", "rating", "other_request_id", "subject")
_NAMESPACE = uuid.UUID("2b1f9d0a-64c7-5c1b-8f52-0c3f0a7d51aa")


@dataclass(frozen=True)
class Said:
    """What somebody took for the right answer to a text."""

    text: str
    answer: str
    subject: str | None
    comment: str | None
    origin: str
    """Where in the file, for people."""

    def feedback_id(self, table: str) -> str:
        """The same for the same words of the same person, so that a file may be imported again."""
        parts = json.dumps([table, self.text, self.answer, self.subject, self.comment], ensure_ascii=False)
        return str(uuid.uuid5(_NAMESPACE, hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()))


def read(path: Path, *, format: str, text_field: str = "text") -> list[Said]:
    """Every row of a file that has a text and an answer; the same thing said twice is there once.

    Args:
        format: jsonl, label-studio or argilla.
        text_field: the field that holds the text.

    Raises:
        UsageError: there is no such format.
        InputFileError: the file is not there, or not what its format says.
        MappingError: no row has that field, or none has an answer.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", f"formats are {', '.join(FORMATS)}")
    try:
        found = list(FORMATS[format](path.read_text("utf-8-sig"), text_field))
    except FileNotFoundError as err:
        raise InputFileError(f"there is no file {path}", "name one") from err
    except (OSError, UnicodeDecodeError) as err:
        raise InputFileError(f"{path} cannot be read: {err}", "it must be UTF-8 text") from err
    except (ValueError, TypeError, AttributeError, KeyError) as err:
        raise InputFileError(f"{path} is not a {format} export: {err}", "see docs/guide/feedback.md") from err
    if not found:
        raise MappingError(
            f"{path} holds no answer to a field {text_field!r}", "name the field with the text: --text-field NAME"
        )
    return list({(one.text, one.answer, one.subject, one.comment): one for one in found}.values())


def opinions(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file that speak of answers of ours, as `POST /v1/feedback` takes them.

    Such a row names its answer by `request_id`, and has a `kind` with what goes with it; each gets an id that is the
    same whenever the file is read. Rows without a request id are left to `read`.

    Raises:
        InputFileError: the file is not there, or is no JSONL.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError, ValueError) as err:
        raise InputFileError(f"{path} cannot be read as JSONL: {err}", "one JSON object a line, in UTF-8") from err
    found = []
    for row in rows:
        if isinstance(row, dict) and row.get("request_id"):
            said = {name: row[name] for name in OPINION if row.get(name) is not None}
            words = json.dumps(said, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
            name = hashlib.sha256(words).hexdigest()
            found.append({"feedback_id": str(uuid.uuid5(_NAMESPACE, name)), **said, "channel": "import"})
    return found


def _jsonl(content: str, text_field: str) -> Iterator[Said]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            row = json.loads(line)
            answer = row.get("answer", row.get("correction"))
            yield from _said(row.get(text_field), answer, row.get("subject"), row.get("comment"), f"line {number}")


def _label_studio(content: str, text_field: str) -> Iterator[Said]:
    """Its JSON export: tasks with annotations; an annotation's results hold what was chosen or written."""
    for task in json.loads(content):
        for annotation in task.get("annotations", ()):
            if annotation.get("was_cancelled"):
                continue
            by = annotation.get("completed_by")
            subject = (by.get("email") or by.get("id")) if isinstance(by, dict) else by
            for result in annotation["result"]:
                origin = f"task {task.get('id', '?')}"
                yield from _said(task["data"].get(text_field), _chosen(result), subject, None, origin)


def _chosen(result: dict[str, Any]) -> str | None:
    """A result's one answer; more than one choice is none."""
    value = result.get("value", {})
    given = value.get("choices") or value.get("text") or [path[-1] for path in value.get("taxonomy", ())]
    given = [given] if isinstance(given, str) else list(given)
    return str(given[0]) if len(given) == 1 else None


def _argilla(content: str, text_field: str) -> Iterator[Said]:
    """Records as `to_json` writes them: 2.x has responses by question, 1.x has them by user."""
    for record in json.loads(content):
        text, origin = record["fields"].get(text_field), f"record {record.get('id', '?')}"
        responses = record.get("responses") or {}
        if isinstance(responses, dict):
            for answers in responses.values():
                for one in answers:
                    if one.get("status", "submitted") == "submitted":
                        yield from _said(text, one.get("value"), one.get("user_id"), None, origin)
        else:
            for one in responses:
                if one.get("status", "submitted") == "submitted":
                    for answer in (one.get("values") or {}).values():
                        yield from _said(text, answer.get("value"), one.get("user_id"), None, origin)


def _said(text: object, answer: object, subject: object, comment: object, origin: str) -> Iterator[Said]:
    """Only what is text: ratings, rankings and spans answer other questions than a table's."""
    if isinstance(text, str) and isinstance(answer, str) and text.strip() and answer.strip():
        yield Said(
            text=text,
            # the first of several lines of code keeps its indentation
            answer=answer.strip("\n").rstrip() if "\n" in answer.strip() else answer.strip(),
            subject=None if subject is None else str(subject)[:200],
            comment=comment if isinstance(comment, str) and comment.strip() else None,
            origin=origin,
        )


FORMATS: dict[str, Callable[[str, str], Iterator[Said]]] = {
    "jsonl": _jsonl,
    "label-studio": _label_studio,
    "argilla": _argilla,
}
