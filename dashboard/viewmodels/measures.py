"""The loop's own figures: from a complaint to a better model, promotions that went wrong, going back, rows lost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.ledger.schema import VerdictRow
from dashboard.text import Words
from dashboard.viewmodels.shapes import Tile

if TYPE_CHECKING:
    from components.feedback.closing import Measures


def measure_tiles(found: "Measures", verdicts: Sequence[VerdictRow], words: Words) -> list[Tile]:
    """Five tiles. `verdicts`: the table's, whose newest says what the gate may err."""
    unknown, closing = words("tile.unknown"), found.closing
    minutes = Tile(
        words("measures.minutes"),
        words("unit.minutes", value=f"{closing.minutes:.1f}") if closing else unknown,
        words("measures.minutes.note", before=closing.version_before, after=closing.version_after)
        if closing
        else words("measures.minutes.none"),
    )
    level = verdicts[-1].policy.get("confidence_level") if verdicts else None
    false = Tile(
        words("measures.false"),
        words("measures.at_most", share=words.percent(1 - float(level), decimals=0)) if level else unknown,
        words("measures.false.note", promotions=found.num_promotions, back=found.num_rollbacks),
    )
    seconds = found.rollback_seconds
    back = Tile(
        words("measures.back"),
        words("unit.seconds", value=f"{seconds:.2f}") if seconds is not None else unknown,
        words("measures.back.note" if seconds is not None else "measures.back.none"),
    )
    dropped = found.rollback_dropped
    without = Tile(
        words("measures.dropped"),
        words.number(dropped) if dropped is not None else unknown,
        words("measures.dropped.note" if dropped is not None else "measures.back.none"),
    )
    lost = Tile(
        words("measures.lost"),
        words.number(found.num_lost),
        words("measures.lost.note", count=words.number(found.num_rows)),
    )
    return [minutes, false, back, without, lost]
