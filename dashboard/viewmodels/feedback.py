"""The feedback page: what was said, what became of it, and when the next retraining comes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from components.ecosystem import State
from components.ledger.schema import FATES, Feedback
from dashboard.records import LedgerState, TableActivity
from dashboard.text import Words
from dashboard.viewmodels.playground import fate_detail
from dashboard.viewmodels.shapes import Bar, Line, Tile

if TYPE_CHECKING:
    from components.feedback.mine import Mine

STATE_OF_FATE: Mapping[str, State] = {
    "received": "waiting",
    "refused": "failed",
    "admitted": "working",
    "trained": "ready",
    "measured": "ready",
}
SCRIPTED = "scripted-rater"


@dataclass(frozen=True)
class FeedbackView:
    fates: tuple[Bar, ...]
    total: str
    kinds: tuple[Bar, ...]
    refusals: tuple[Bar, ...]
    trigger_share: float
    trigger_count: str
    trigger_note: str
    effect: Tile
    """Share of corrected answers that are right now."""


def with_feedback(ledger: LedgerState) -> list[TableActivity]:
    """Tables that anybody has said anything about, the busiest first."""
    return sorted((t for t in ledger.tables if t.num_feedback), key=lambda t: (-t.num_feedback, t.table))


def feedback_view(table: TableActivity, *, floor: int, words: Words) -> FeedbackView:
    """The page for one table. `floor`: how many new rows start a retraining."""
    total = table.num_feedback or 1
    tones = {"refused": "warn", "received": "plain", "admitted": "blue"}
    fates = tuple(
        Bar(
            words(f"fate.{fate}"),
            table.fates.get(fate, 0) / total,
            words.number(table.fates.get(fate, 0)),
            tones.get(fate, "strong"),  # type: ignore[arg-type]
        )
        for fate in FATES
    )
    kinds = tuple(
        Bar(
            words(f"kind.{kind}"),
            table.kinds.get(kind, 0) / total,
            words.number(table.kinds.get(kind, 0)),
            "strong" if kind == "approve" else "warn" if kind == "reject" else "blue",
        )
        for kind in ("approve", "correct", "reject", "rate", "prefer", "comment")
        if table.kinds.get(kind) or kind in ("approve", "correct", "reject")
    )
    refused = sum(table.refusals.values()) or 1
    right = table.corrected_now_right
    return FeedbackView(
        fates=fates,
        total=words("feedback.fates.lead", count=words.number(table.num_feedback)),
        kinds=kinds,
        refusals=tuple(
            Bar(words.named("reason", reason), count / refused, words.number(count), "warn")
            for reason, count in table.refusals.items()
        ),
        trigger_share=min(1.0, table.num_pending / floor),
        trigger_count=words("feedback.trigger.count", count=words.number(table.num_pending), floor=words.number(floor)),
        trigger_note=words("feedback.trigger.reached" if table.num_pending >= floor else "feedback.trigger.below"),
        effect=Tile(
            words("feedback.effect"),
            words.percent(right, decimals=0) if right is not None else words("tile.unknown"),
            words("feedback.effect.note" if right is not None else "feedback.effect.none"),
        ),
    )


def row_lines(rows: Sequence[Feedback], words: Words) -> tuple[Line, ...]:
    """Feedback rows as lines: what was said of which answer, by which channel, and how it stands."""
    return tuple(
        Line(
            when=words.moment(row.at),
            text=words(f"feedback.said.{row.kind}", **_said(row)),
            note=" · ".join(
                part
                for part in (
                    _clip(row.text, 140),
                    words.named("feedback.channel", row.channel),
                    words.named("reason", row.reason) if row.reason else "",
                    row.comment,
                )
                if part
            ),
            state=STATE_OF_FATE[row.fate],
            state_text=words(f"fate.{row.fate}"),
            end=f"v{row.model_version}",
        )
        for row in rows
    )


def own_lines(mine: "Sequence[Mine]", words: Words) -> tuple[Line, ...]:
    """One person's rows, each with every step of its way."""
    lines = row_lines([one.feedback for one in mine], words)
    return tuple(
        replace(line, note=" · ".join(filter(None, (_clip(one.feedback.text, 140), _way(one, words)))))
        for line, one in zip(lines, mine, strict=True)
    )


def _way(one: "Mine", words: Words) -> str:
    steps = ((words(f"fate.{step.fate}"), fate_detail(step, words)) for step in one.way)
    return " → ".join(f"{name} ({detail})" if detail else name for name, detail in steps)


def own_summary(mine: "Sequence[Mine]", words: Words) -> str:
    """How many there are, and where they stand."""
    counts = Counter(one.feedback.fate for one in mine)
    stand = (f"{words(f'fate.{fate}')} {words.number(counts[fate])}" for fate in FATES if counts[fate])
    return f"{words('feedback.lookup.count', count=words.number(len(mine)))} {' · '.join(stand)}"


def _said(row: Feedback) -> dict[str, str]:
    """What the sentence of each kind needs."""
    return {
        "output": _clip(row.output, 60),
        "correction": _clip(row.correction, 60),
        "other": _clip(row.other_output, 60),
        "rating": str(row.rating or ""),
    }


def is_mostly_scripted(rows: Sequence[Feedback]) -> bool:
    return sum(row.channel == SCRIPTED for row in rows) * 2 > len(rows)


def _clip(text: str | None, length: int) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"
