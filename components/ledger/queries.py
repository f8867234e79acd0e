"""What the ledger can be asked: counts, pages and histories. Nothing in here writes."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select

from components.ledger.database import Database
from components.ledger.kinds import DISLIKED
from components.ledger.schema import (
    FATES,
    ActionRow,
    Answer,
    Cost,
    Cut,
    Fate,
    FateName,
    Feedback,
    JournalEntry,
    LookRow,
    Pending,
    VerdictRow,
    actions,
    answers,
    appeals,
    costs,
    counters,
    cuts,
    failures,
    fates,
    feedback,
    journal,
    looks,
    verdicts,
)


class LedgerQueries:
    """The reading half of the ledger. Every method raises LedgerError when the database does not answer.

    Pages run from the newest row backwards: pass the last row's `sequence` as `before` for the next page.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # ------------------------------------------------------------ answers and feedback

    def tables(self) -> list[str]:
        """Every table that was ever answered for, sorted."""
        return [
            str(row[0]) for row in self._all(select(answers.c.table_name).distinct().order_by(answers.c.table_name))
        ]

    def answer(self, request_id: str) -> Answer | None:
        rows = self._all(select(answers).where(answers.c.request_id == request_id))
        return _answer(rows[0]) if rows else None

    def answers(
        self,
        table: str | None = None,
        *,
        model_version: int | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> list[Answer]:
        """One page of answers, newest first."""
        query = select(answers).order_by(answers.c.sequence.desc()).limit(limit)
        if table is not None:
            query = query.where(answers.c.table_name == table)
        if model_version is not None:
            query = query.where(answers.c.model_version == model_version)
        if before is not None:
            query = query.where(answers.c.sequence < before)
        return [_answer(row) for row in self._all(query)]

    def num_answers(self, table: str | None = None) -> dict[tuple[str, int], int]:
        """(model name, version) → how many answers it gave."""
        query = select(answers.c.model_name, answers.c.model_version, func.count()).group_by(
            answers.c.model_name, answers.c.model_version
        )
        if table is not None:
            query = query.where(answers.c.table_name == table)
        return {(str(name), int(version)): int(count) for name, version, count in self._all(query)}

    def feedback(
        self,
        table: str | None = None,
        *,
        fate: FateName | None = None,
        kind: str | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> list[Feedback]:
        """One page of feedback, newest first, each row with its answer and its current fate."""
        query = _feedback_query().order_by(feedback.c.sequence.desc()).limit(limit)
        if table is not None:
            query = query.where(feedback.c.table_name == table)
        if fate is not None:
            query = query.where(fates.c.fate == fate)
        if kind is not None:
            query = query.where(feedback.c.kind == kind)
        if before is not None:
            query = query.where(feedback.c.sequence < before)
        return [_feedback(row) for row in self._all(query)]

    def feedback_row(self, feedback_id: str) -> Feedback | None:
        rows = self._all(_feedback_query().where(feedback.c.feedback_id == feedback_id))
        return _feedback(rows[0]) if rows else None

    def feedback_of(self, subject: str, *, limit: int = 200) -> list[Feedback]:
        """The newest rows of one pseudonym, newest first."""
        query = _feedback_query().where(feedback.c.subject == subject).order_by(feedback.c.sequence.desc())
        return [_feedback(row) for row in self._all(query.limit(limit))]

    def feedback_on(self, request_id: str) -> list[Feedback]:
        """All that was said of one answer, newest first."""
        query = _feedback_query().where(feedback.c.request_id == request_id).order_by(feedback.c.sequence.desc())
        return [_feedback(row) for row in self._all(query)]

    def feedback_upto(self, table: str, cut: int) -> list[Feedback]:
        """All feedback of a table up to and including sequence `cut`, in order of arrival: always the same rows.

        (`fate` is today's, and no decision may rest on it that is to be repeatable.)
        """
        query = _feedback_query().where(feedback.c.table_name == table, feedback.c.sequence <= cut)
        return [_feedback(row) for row in self._all(query.order_by(feedback.c.sequence))]

    def appealed_upto(self, table: str, cut: int) -> frozenset[str]:
        """Ids of a table's feedback whose refusal an operator had overruled by sequence `cut`: always the same ones."""
        mine = (feedback.c.feedback_id == appeals.c.feedback_id) & (feedback.c.table_name == table)
        query = select(appeals.c.feedback_id).join(feedback, mine).where(appeals.c.sequence <= cut)
        return frozenset(str(row[0]) for row in self._all(query))

    def admitted_to(self, table: str, data_version: str) -> list[Feedback]:
        """The feedback rows that a data version holds, in order of arrival."""
        inside = select(fates.c.feedback_id).where(fates.c.fate == "admitted", fates.c.data_version == data_version)
        query = _feedback_query().where(feedback.c.table_name == table, feedback.c.feedback_id.in_(inside))
        return [_feedback(row) for row in self._all(query.order_by(feedback.c.sequence))]

    def refused_from(self, table: str, data_version: str, *, reason: str) -> list[Feedback]:
        """The feedback rows that were refused from a data version for that reason, in order of arrival."""
        outside = select(fates.c.feedback_id).where(
            fates.c.fate == "refused", fates.c.data_version == data_version, fates.c.reason == reason
        )
        query = _feedback_query().where(feedback.c.table_name == table, feedback.c.feedback_id.in_(outside))
        return [_feedback(row) for row in self._all(query.order_by(feedback.c.sequence))]

    def num_feedback(self, table: str | None = None) -> dict[str, int]:
        """Kind (approve, reject, correct) → rows."""
        query = select(feedback.c.kind, func.count()).group_by(feedback.c.kind)
        if table is not None:
            query = query.where(feedback.c.table_name == table)
        return {str(kind): int(count) for kind, count in self._all(query)}

    # ------------------------------------------------------------ fates

    def fate_of(self, feedback_id: str) -> list[Fate]:
        """What became of a feedback row, step by step; empty when there is no such row."""
        query = select(fates).where(fates.c.feedback_id == feedback_id).order_by(fates.c.sequence)
        return [_fate(row) for row in self._all(query)]

    def current_fates(self, table: str | None = None) -> dict[FateName, int]:
        """Fate → how many rows stand there now; all five, with zeros."""
        query = _with_current_fate(select(fates.c.fate, func.count()).select_from(feedback)).group_by(fates.c.fate)
        if table is not None:
            query = query.where(feedback.c.table_name == table)
        found = {row[0]: int(row[1]) for row in self._all(query)}
        return {fate: found.get(fate, 0) for fate in FATES}

    def refusals(self, table: str | None = None) -> dict[str, int]:
        """Reason → rows that stand refused for it, most frequent first."""
        query = _with_current_fate(select(fates.c.reason, func.count()).select_from(feedback))
        query = query.where(fates.c.fate == "refused").group_by(fates.c.reason)
        if table is not None:
            query = query.where(feedback.c.table_name == table)
        found = {str(reason): int(count) for reason, count in self._all(query)}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def effects(
        self, table: str, *, model_version: int | None = None, kind: str | None = "correct", limit: int | None = None
    ) -> list[tuple[Feedback, Fate]]:
        """Feedback rows with what a model trained on them makes of them (fate `measured`), in order of arrival.

        Args:
            model_version: whose effect; default: the newest version that measured any.
            kind: which rows: 'correct' (the default), 'approve', or None for both.

        Not those of trainings by preference, whose scores are no shares of right answers.
        """
        mine = (feedback.c.feedback_id == fates.c.feedback_id) & (feedback.c.table_name == table)
        version = self._newest_measured(table) if model_version is None else model_version
        rows = select(fates).join(feedback, mine).where(_answered())
        measured = {row.feedback_id: _fate(row) for row in self._all(rows.where(fates.c.model_version == version))}
        query = _feedback_query().where(feedback.c.table_name == table).order_by(feedback.c.sequence)
        if kind is not None:
            query = query.where(feedback.c.kind == kind)
        found = [_feedback(row) for row in self._all(query)]
        return [(row, measured[row.feedback_id]) for row in found if row.feedback_id in measured][:limit]

    def corrected_now_right(self, table: str, *, model_version: int | None = None) -> float | None:
        """Share of the corrected answers that the model now gets right; None when none was measured.

        It was trained on those very rows: this says that feedback arrives, not that the model generalises.
        """
        mine = (feedback.c.feedback_id == fates.c.feedback_id) & (feedback.c.table_name == table)
        query = select(fates.c.effect).join(feedback, mine)
        query = query.where(_answered(), feedback.c.kind == "correct")
        version = self._newest_measured(table) if model_version is None else model_version
        scores = [float(row.effect["score_after"]) for row in self._all(query.where(fates.c.model_version == version))]
        return sum(scores) / len(scores) if scores else None

    def _newest_measured(self, table: str) -> int | None:
        mine = (feedback.c.feedback_id == fates.c.feedback_id) & (feedback.c.table_name == table)
        query = select(func.max(fates.c.model_version)).join(feedback, mine).where(_answered())
        found: int | None = self._all(query)[0][0]
        return found

    def num_failed(self, table: str, *, since: float, until: float) -> int:
        """Requests to a table that got no answer between two times (seconds since the epoch, counted by the second)."""
        query = select(func.coalesce(func.sum(failures.c.num_requests), 0)).where(
            failures.c.table_name == table, failures.c.at >= int(since), failures.c.at <= until
        )
        return int(self._all(query)[0][0])

    def first_complaints(self, model_name: str) -> dict[int, float]:
        """Version → when somebody first said that an answer of it was wrong (seconds since the epoch)."""
        wrong = feedback.c.kind.in_(("reject", "correct")) | (feedback.c.rating <= DISLIKED)
        query = select(answers.c.model_version, func.min(feedback.c.at))
        query = query.join(feedback, answers.c.request_id == feedback.c.request_id)
        query = query.where(answers.c.model_name == model_name, wrong).group_by(answers.c.model_version)
        return {int(version): float(at) for version, at in self._all(query)}

    def first_answer(self, table: str, model_name: str, version: int, *, after: float) -> float | None:
        """When the version first answered after a time, or None."""
        by_version = (answers.c.table_name == table, answers.c.model_name == model_name)  # as the index has it
        query = select(func.min(answers.c.at)).where(*by_version, answers.c.model_version == version)
        found: float | None = self._all(query.where(answers.c.at >= after))[0][0]
        return found

    def feedback_numbers(self) -> tuple[int, int]:
        """How many numbers were given to feedback and appeals, over all tables, and how many of them have their row."""
        kept = [self._all(select(func.count()).select_from(one))[0][0] for one in (feedback, appeals)]
        return self.cut(), int(sum(kept))

    # ------------------------------------------------------------ cuts

    def cut(self) -> int:
        """The newest feedback row's sequence, over all tables: what a retraining takes as its parameter."""
        return int(self._all(select(counters.c.value).where(counters.c.name == "feedback"))[0][0])

    def cuts(self, table: str) -> list[Cut]:
        """Consumed cuts, oldest first."""
        query = select(cuts).where(cuts.c.table_name == table).order_by(cuts.c.cut)
        return [
            Cut(row.table_name, row.cut, row.at, row.outcome, row.model_name, row.model_version)
            for row in self._all(query)
        ]

    def pending(self, table: str) -> Pending:
        """The feedback above the last consumed cut, and the appeals: they are for the next one to admit."""
        consumed = select(func.coalesce(func.max(cuts.c.cut), 0)).where(cuts.c.table_name == table).scalar_subquery()
        query = select(func.count(), func.min(feedback.c.at), func.max(feedback.c.at), func.max(feedback.c.sequence))
        row = self._all(query.where(feedback.c.table_name == table, feedback.c.sequence > consumed))[0]
        mine = (feedback.c.feedback_id == appeals.c.feedback_id) & (feedback.c.table_name == table)
        later = select(func.count(), func.min(appeals.c.at), func.max(appeals.c.at), func.max(appeals.c.sequence))
        also = self._all(later.select_from(appeals.join(feedback, mine)).where(appeals.c.sequence > consumed))[0]
        oldest, newest = ([at for at in (row[i], also[i]) if at is not None] for i in (1, 2))
        return Pending(
            int(row[0]) + int(also[0]),
            min(oldest, default=None),
            max(newest, default=None),
            max(int(row[3] or 0), int(also[3] or 0)),
        )

    def unconsumed(self, table: str) -> int:
        """How many feedback rows lie above the last consumed cut."""
        return self.pending(table).count

    # ------------------------------------------------------------ journal, verdicts, costs

    def journal(self, name: str | None = None) -> list[JournalEntry]:
        """The alias moves, oldest first; `name` narrows to one registered model."""
        entries = [
            JournalEntry(sequence=row.sequence, previous=row.previous, hash=row.hash, **json.loads(row.entry))
            for row in self.journal_rows()
        ]
        return [entry for entry in entries if name is None or entry.name == name]

    def journal_rows(self) -> list[Row[Any]]:
        """(sequence, previous, hash, entry) as stored, for whoever verifies the chain."""
        return self._all(select(journal).order_by(journal.c.sequence))

    def verdicts(self, name: str | None = None) -> list[VerdictRow]:
        """The gate's verdicts on a registered model's versions (or on all), oldest first."""
        query = select(verdicts).order_by(verdicts.c.sequence)
        if name is not None:
            query = query.where(verdicts.c.model_name == name)
        return [VerdictRow(**_without(row, "sequence")) for row in self._all(query)]

    def looks(self, name: str, test_set: str | None = None, *, limit: int | None = None) -> list[LookRow]:
        """The comparisons of a registered model's versions that a test set (or any) has decided, in their order.

        `limit` keeps the newest.
        """
        query = select(looks).where(looks.c.model_name == name)
        if test_set is not None:
            query = query.where(looks.c.test_set == test_set)
        rows = self._all(query.order_by(looks.c.sequence.desc()).limit(limit))
        return [LookRow(**_without(row, "sequence")) for row in reversed(rows)]

    def actions(self, *, limit: int = 50) -> list[ActionRow]:
        """What was asked for through the operators' door, newest first."""
        rows = self._all(select(actions).order_by(actions.c.sequence.desc()).limit(limit))
        return [ActionRow(**row._mapping) for row in rows]

    def costs(self, run_id: str | None = None, *, subject_name: str | None = None) -> list[Cost]:
        """What runs cost, stage by stage, oldest first."""
        query = select(costs).order_by(costs.c.sequence)
        if run_id is not None:
            query = query.where(costs.c.run_id == run_id)
        if subject_name is not None:
            query = query.where(costs.c.subject_name == subject_name)
        return [Cost(**_without(row, "sequence")) for row in self._all(query)]

    def _all(self, query: Select[Any]) -> list[Row[Any]]:
        with self._database.read() as connection:
            return list(connection.execute(query).all())


def _feedback_query() -> Select[Any]:
    about = (answers.c.text, answers.c.output, answers.c.model_name, answers.c.model_version)
    other = answers.alias("other")
    query = select(feedback, *about, other.c.output.label("other_output"), fates.c.fate, fates.c.reason)
    query = query.select_from(feedback).join(answers, answers.c.request_id == feedback.c.request_id)
    return _with_current_fate(query.join(other, other.c.request_id == feedback.c.other_request_id, isouter=True))


def _answered() -> ColumnElement[bool]:
    """Fates `measured` by asking again; those of trainings by preference say what they were measured `by`."""
    return (fates.c.fate == "measured") & fates.c.effect["by"].as_string().is_(None)


def _with_current_fate(query: Select[Any]) -> Select[Any]:
    latest = (
        select(func.max(fates.c.sequence))
        .where(fates.c.feedback_id == feedback.c.feedback_id)
        .correlate(feedback)
        .scalar_subquery()
    )
    return query.join(fates, fates.c.sequence == latest)


def _answer(row: Row[Any]) -> Answer:
    fields = _without(row, "table_name", "alternatives")
    pairs: Iterable[tuple[str, float]] = row.alternatives
    return Answer(**fields, table=row.table_name, alternatives=tuple((str(a), float(p)) for a, p in pairs))


def _feedback(row: Row[Any]) -> Feedback:
    return Feedback(**_without(row, "table_name", "content_sha256"), table=row.table_name)


def _fate(row: Row[Any]) -> Fate:
    return Fate(**_without(row, "sequence"))


def _without(row: Row[Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name not in names}
