"""What was asked for through the operators' door, as lines."""

from collections.abc import Mapping, Sequence

from components.ecosystem import State
from components.ledger.schema import ActionRow
from dashboard.text import Words
from dashboard.viewmodels.shapes import Line

STATE_OF_OUTCOME: Mapping[str, State] = {"asked": "waiting", "done": "ready", "failed": "failed", "refused": "stale"}


def _detail(row: ActionRow) -> str:
    """What came of it; of a roll-back that was done it is the version, which stands in the subject."""
    return "" if (row.action, row.outcome) == ("rollback", "done") else row.detail


def action_lines(rows: Sequence[ActionRow], words: Words) -> tuple[Line, ...]:
    """Newest first."""
    return tuple(
        Line(
            when=words.moment(row.at),
            text=words(f"action.{row.action}", subject=row.subject)
            if words.has(f"action.{row.action}")
            else f"{row.action} {row.subject}",
            note=" · ".join(filter(None, (row.actor, words(f"role.{row.role}"), _detail(row)))),
            state=STATE_OF_OUTCOME[row.outcome],
            state_text=words(f"outcome.{row.outcome}"),
        )
        for row in rows
    )
