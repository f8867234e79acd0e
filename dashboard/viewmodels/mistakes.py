"""A version's answers row by row, worst first; and its figures on files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.measured_rows import MeasuredRow, OnFile
from dashboard.text import Words
from dashboard.viewmodels.evidence import slice_name
from dashboard.viewmodels.shapes import score

MOST_ROWS = 100
MOST_CHARS = 2000
"""Of a text: a table's cell is no reader."""


@dataclass(frozen=True)
class Mistake:
    text: str
    target: str
    prediction: str
    score: str
    confidence: str


@dataclass(frozen=True)
class MistakesView:
    rows: tuple[Mistake, ...]
    told: str
    has_texts: bool


@dataclass(frozen=True)
class FileRow:
    file: str
    version: str
    rows: str
    metric: str
    value: str
    interval: str
    champion: str
    baseline: str
    at: str


def slices_of(rows: Sequence[MeasuredRow], words: Words) -> dict[str, str]:
    """Slice → its name with its rows, those with the lowest mean score first."""
    counts = Counter(name for row in rows for name in row.slices)
    sums: Counter[str] = Counter()
    for row in rows:
        for name in row.slices:
            sums[name] += row.score  # type: ignore[assignment]  # a Counter adds any number
    order = sorted(counts, key=lambda name: (sums[name] / counts[name], name))
    return {name: f"{slice_name(name, words)} · {words.counted('row', counts[name])}" for name in order}


def mistakes_view(
    rows: Sequence[MeasuredRow], metric: str, words: Words, *, inside: str = "", only_errors: bool = True
) -> MistakesView:
    """The first rows of what is asked for.

    Args:
        rows: as the store gives them, worst first.
        inside: a slice's name; empty: all rows.
        only_errors: those that score below 1.
    """
    asked = [row for row in rows if not inside or inside in row.slices]
    wrong = [row for row in asked if row.score < 1]
    shown = (wrong if only_errors else asked)[:MOST_ROWS]
    told = words(
        "mistakes.told", wrong=words.number(len(wrong)), all=words.number(len(asked)), shown=words.number(len(shown))
    )
    return MistakesView(
        tuple(
            Mistake(
                text=row.text[:MOST_CHARS],
                target=row.target[:MOST_CHARS],
                prediction=row.prediction[:MOST_CHARS],
                score=score(words, metric, row.score) if row.score not in (0, 1) else f"{row.score:.0f}",
                confidence="" if row.confidence is None else words.percent(row.confidence, decimals=0),
            )
            for row in shown
        ),
        told,
        any(row.text for row in rows),
    )


def file_rows(found: Sequence[OnFile], words: Words) -> tuple[FileRow, ...]:
    """Each evaluation on a file as a line."""
    return tuple(
        FileRow(
            file=one.file,
            version=words("version", version=one.version),
            rows=words.number(one.num_rows),
            metric=words.named("metric", one.metric),
            value=score(words, one.metric, one.value),
            interval=f"{score(words, one.metric, one.low)} – {score(words, one.metric, one.high)}",
            champion=""
            if one.champion is None
            else f"{score(words, one.metric, one.champion)} ({words('version', version=one.champion_version)})",
            baseline="" if one.baseline is None else score(words, one.metric, one.baseline),
            at=words.moment(one.at),
        )
        for one in found
    )
