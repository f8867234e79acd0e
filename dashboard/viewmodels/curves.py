"""Quality by number of labels: the curves of one task in one domain, as they are drawn and as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.text import Words

BASES = ("pretrained", "same shape", "lstm", "tf-idf")
KINDS = ("a", "b", "c", "d")
DOMAINS = ("test", "other")


@dataclass(frozen=True)
class Curve:
    kind: str
    name: str
    points: tuple[tuple[float, float, float, float], ...]
    """Rows, and mean, least and most accuracy over the seeds."""


@dataclass(frozen=True)
class Curves:
    """One picture."""

    title: str
    curves: tuple[Curve, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The same in figures; the range stands on a line of its own."""
    floor: float
    """Where the axis of accuracy begins: the same for all domains of a task, so that their pictures compare."""


def curves(finding: Mapping[str, Any], words: Words) -> tuple[Curves, ...]:
    """A picture for each task and domain; none for a finding that is not what the benchmark keeps."""
    rows: Sequence[Mapping[str, Any]] = finding.get("label_efficiency") or ()
    try:
        tasks = list(dict.fromkeys(str(row["task"]) for row in rows))
        return tuple(_one(rows, task, domain, words) for task in tasks for domain in DOMAINS)
    except (KeyError, TypeError, ValueError):
        return ()


def _one(rows: Sequence[Mapping[str, Any]], task: str, domain: str, words: Words) -> Curves:
    mine = [row for row in rows if row["task"] == task]
    sizes = sorted({int(row["rows"]) for row in mine})
    found = []
    for kind, base in zip(KINDS, BASES, strict=True):
        of_base = {int(row["rows"]): row[domain] for row in mine if row["base"] == base}
        points = tuple((float(size), *map(float, of_base[size])) for size in sizes if size in of_base)
        if points:
            found.append(Curve(kind, words.named("curves.base", base), points))  # type: ignore[arg-type]
    table = tuple((curve.name, *(_cell(curve, size, words) for size in sizes)) for curve in found)
    heads = (words("curves.rows"), *(words.number(size) for size in sizes))
    least = min((float(row[one][1]) for row in mine for one in DOMAINS), default=0.0)
    title = f"{words.named('curves.task', task)} · {words(f'curves.{domain}')}"
    return Curves(title, tuple(found), heads, table, max(0.0, math.floor(least * 10) / 10))


def _cell(curve: Curve, size: int, words: Words) -> str:
    for rows, mean, least, most in curve.points:
        if rows == size:
            return f"{words.percent(mean)}\n{least * 100:.0f}–{words.percent(most, decimals=0)}"
    return ""
