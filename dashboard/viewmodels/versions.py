"""The data page beyond one version's counts: the line of versions, the suite's results, examples, and differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.ecosystem import State
from dashboard.records import DataVersion
from dashboard.text import Words, signed
from dashboard.versions import Added, CheckRow, Rejected
from dashboard.viewmodels.shapes import Bar, Line, short

if TYPE_CHECKING:
    from components.data.diff import Rows, TableDiff

NUM_NAMES = 6
"""Sources and labels named of each kind of difference; the rest is counted."""


@dataclass(frozen=True)
class Growth:
    """Rows of each table over the versions, oldest first."""

    when: tuple[str, ...]
    rows: Mapping[str, tuple[int | None, ...]]
    """Table → rows; None where a version had no such table."""


@dataclass(frozen=True)
class DiffCard:
    title: str
    same: str
    bars: tuple[Bar, ...]
    """Added, removed, changed, moved."""
    lines: tuple[Line, ...]
    """By kind: per split, source and label; then examples."""


def growth(versions: Sequence[DataVersion]) -> Growth | None:
    """None with fewer than two versions: a point is no line. Packed corpora stand beside it, not in it."""
    tabled = [one for one in versions if not one.tokens]
    if len(tabled) < 2:
        return None
    ordered = sorted(tabled, key=lambda one: one.created_at)
    tables = sorted({table for one in ordered for table in one.rows})
    counts = {
        table: tuple(sum(one.rows[table].values()) if table in one.rows else None for one in ordered)
        for table in tables
    }
    width = len(str(len(ordered)))  # the axis is ordered by its words
    return Growth(tuple(f"{place:0{width}} · {short(one.version)}" for place, one in enumerate(ordered, 1)), counts)


def line_of_versions(versions: Sequence[DataVersion], words: Words) -> list[Line]:
    """Newest first, each with what its tables gained or lost."""
    by_id = {one.version: one for one in versions}
    return [
        Line(
            when=words.moment(one.created_at),
            text=f"{one.name} · {short(one.version)}",
            note=_step(one, by_id.get(one.parent), words),
            state="ready" if one.is_head else "empty",
            state_text=words("data.head") if one.is_head else short(one.version),
            end=words.counted("row", one.num_rows),
        )
        for one in sorted(versions, key=lambda one: -one.created_at)
    ]


def _step(one: DataVersion, parent: DataVersion | None, words: Words) -> str:
    if parent is None:
        return words("data.time.lost" if one.parent else "data.time.first")
    changes = []
    for table in sorted({*one.rows, *parent.rows}):
        if table not in parent.rows or table not in one.rows:
            changes.append(words("data.time.new" if table in one.rows else "data.time.gone", table=table))
        elif more := sum(one.rows[table].values()) - sum(parent.rows[table].values()):
            changes.append(words("data.time.table", table=table, change=signed(more, decimals=0)))
    return ", ".join(changes) or words("data.time.same")


def language_bars(mix: Mapping[str, float], words: Words) -> list[Bar]:
    """Shares of a sample; the largest first."""
    ordered = sorted(mix.items(), key=lambda item: (-item[1], item[0]))
    return [Bar(name, share, words.percent(share), "plain") for name, share in ordered]


def changed_bars(changed: Mapping[str, Mapping[str, int]], words: Words) -> list[Bar]:
    """Table and what was done, the most frequent first."""
    found = [(table, what, number) for table, done in changed.items() for what, number in done.items()]
    most = max((number for *_, number in found), default=1)
    ordered = sorted(found, key=lambda one: (-one[2], one[0], one[1]))
    return [
        Bar(f"{words.named('data.done', what)}", number / most, words.number(number), "plain", table)
        for table, what, number in ordered
    ]


def added_lines(added: Sequence[Added], words: Words) -> list[Line]:
    """What was filled in and what was made, and by what."""
    found = []
    for one in added:
        what = words("data.filled", column=one.what) if one.is_column else words.named("data.made_by", one.what)
        by = words("data.by", by=one.by) if one.by else ""
        found.append(Line(one.table, what, by, "stale", words("data.not_given"), words.number(one.num_rows)))
    return found


def tables_checked(checks: Sequence[CheckRow]) -> list[str]:
    """The tables that were looked at; those with a failure first."""
    bad = {_table_of(check) for check in checks if not check.success}
    return sorted({_table_of(check) for check in checks}, key=lambda name: (name not in bad, name))


def _table_of(check: CheckRow) -> str:
    return check.batch.partition(" ")[0]


def suite_label(checks: Sequence[CheckRow], table: str, words: Words) -> str:
    """A table, and how many of its checks passed."""
    mine = [check for check in checks if _table_of(check) == table]
    return f"{table} · {words('data.suite.summary', good=sum(check.success for check in mine), all=len(mine))}"


def suite_lines(checks: Sequence[CheckRow], table: str, words: Words) -> list[Line]:
    """One line a check: what it protects, how many rows it saw, and examples of those that failed it."""
    mine = [check for check in checks if _table_of(check) == table]
    return [_check_line(check, words) for check in sorted(mine, key=lambda check: check.success)]


def _check_line(check: CheckRow, words: Words) -> Line:
    state: State = "ready" if check.success else "failed" if check.severity == "critical" else "stale"
    said = {"ready": "data.suite.passed", "failed": "data.suite.failed", "stale": "data.suite.warned"}
    numbers = {"bad": words.number(check.num_unexpected), "all": words.number(check.num_looked_at)}
    if not check.num_looked_at:
        seen = words("data.suite.whole")
    else:
        seen = words("data.suite.of" if check.num_unexpected else "data.suite.looked", **numbers)
    shown = "" if check.success else " · ".join(check.examples)
    return Line(check.batch.partition(" ")[2], check.meaning, shown, state, words(said[state]), seen)


def reason_label(one: Rejected, words: Words) -> str:
    """Table, reason and how many rows."""
    return f"{one.table} · {words.named('reason', one.reason)} · {words.number(one.num_rows)}"


def example_lines(one: Rejected, words: Words) -> list[Line]:
    """A few of the rows that a reason kept out, with the whole of the reason."""
    found = []
    for row in one.examples:
        answer = f" → {row['answer']}" if row["answer"] else ""
        text = (row["text"] or words("data.examples.no_text")) + answer
        detail = row["reason"].partition(":")[2].strip()
        found.append(Line(row["source"], text, detail, "failed", words.named("reason", one.reason)))
    return found


def diff_cards(found: "Mapping[str, TableDiff]", words: Words) -> list[DiffCard]:
    """A card a table that differs."""
    cards = []
    for table, change in found.items():
        key = "data.diff.new" if change.is_new else "data.diff.gone" if change.is_gone else ""
        kinds = {kind: getattr(change, kind) for kind in ("added", "removed", "changed", "moved")}
        most = max((rows.total for rows in kinds.values()), default=0) or 1
        bars = tuple(
            Bar(words(f"data.diff.{kind}"), rows.total / most, words.number(rows.total), "blue" if kind == "added"
                else "warn" if kind == "removed" else "plain", _by(rows, words))
            for kind, rows in kinds.items()
            if rows.total
        )  # fmt: skip
        lines = tuple(line for kind, rows in kinds.items() for line in _examples(kind, rows, words))
        same = words("data.diff.unchanged", count=words.number(change.same))
        cards.append(DiffCard(words(key, table=table) if key else table, same, bars, lines))
    return cards


def _by(rows: "Rows", words: Words) -> str:
    parts = []
    for key, counts in (("splits", rows.splits), ("by_source", rows.sources), ("by_label", rows.labels)):
        if not counts:
            continue
        named = [f"{words.named('split', name)} {words.number(n)}" for name, n in list(counts.items())[:NUM_NAMES]]
        if len(counts) > NUM_NAMES:
            named.append(words("data.diff.and", count=len(counts) - NUM_NAMES))
        parts.append(words("data.diff.by", dimension=words(f"data.{key}"), counts=", ".join(named)))
    if rows.imputed:
        named = [f"{name} {words.number(n)}" for name, n in rows.imputed.items()]
        parts.append(words("data.diff.by", dimension=words("data.diff.filled"), counts=", ".join(named)))
    return "; ".join(parts)


def _examples(kind: str, rows: "Rows", words: Words) -> list[Line]:
    states: dict[str, State] = {"added": "ready", "removed": "failed"}
    found = []
    for row in rows.examples:
        before = words("data.diff.was", before=row["before"]) if "before" in row else ""
        answer = f" → {row['answer']}" if row["answer"] else ""
        found.append(
            Line(row["id"][:8], row["text"] + answer, before, states.get(kind, "stale"), words(f"data.diff.{kind}"))
        )
    return found
