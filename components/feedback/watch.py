"""The watch over a promotion: sets the control arm, counts screened feedback on both arms, and rolls back.

All that it decides by is in the ledger: which subject is in which arm follows from the split, and what was counted is
kept in its order and never counted again, so that screening anew cannot change the past.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import func, select

from components.data import versioning
from components.data.tables import table_info
from components.errors import DataError, MappingError, UsageError
from components.evaluation.watch import Watched, judge
from components.feedback.content import is_injection, is_secret, is_spam
from components.feedback.subjects import bursts
from components.ledger.journal import Aliases, Journal
from components.ledger.kinds import thumb
from components.ledger.schema import Feedback, JournalEntry, answers
from components.ledger.store import Ledger
from components.ledger.traffic import Split, Traffic
from components.ledger.traffic_tables import watched
from components.recipes import ScreeningPolicy
from components.registry import PREFIX
from components.settings import Settings
from components.watch_policy import WatchPolicy

log = logging.getLogger("banyan.watch")

ACTOR = "watch"


@dataclass
class Watch:
    """Looks after every table's newest promotion; `look` may be called as often as one likes."""

    ledger: Ledger
    registry: Callable[[], Aliases]
    """The registry of now. Raises ServiceDown or RegistryUnavailable while it does not answer."""
    settings: Settings
    policy: WatchPolicy
    screening: ScreeningPolicy
    seen: dict[str, int] = field(default_factory=dict)
    """Table → the newest feedback that was looked at."""

    def look(self) -> list[JournalEntry]:
        """Set control arms, count what is new, roll back where it must be; the moves that this made.

        Raises:
            LedgerError: the ledger did not answer.
            RegistryUnavailable, ServiceDown: MLflow did not; the next look does what this one did not.
        """
        before = len(self.ledger.journal_rows())
        for move in self._watched_moves():
            self._look_after(move)
        return [entry for entry in self.ledger.journal()[before:] if entry.actor == ACTOR]

    def _watched_moves(self) -> list[JournalEntry]:
        """Of each model the newest finished move of its champion, where that is a promotion over another version."""
        newest = {
            entry.name: entry for entry in self.ledger.journal() if entry.state == "done" and entry.alias == "champion"
        }
        return [move for move in newest.values() if move.action == "promote" and move.from_version is not None]

    def _look_after(self, move: JournalEntry) -> None:
        table = move.name.removeprefix(PREFIX)
        traffic = Traffic(self.ledger, self.settings.workspace)
        split = next((one for one in traffic.splits(table) if one.kind == "control"), None)
        ends_at = move.at + self.policy.hours * 3600
        if self.ledger.now() >= ends_at or not self.policy.control_percent:
            if self._arm_of(move) and not self._ended(move):
                evidence = {"reason": "its time is over", "move_id": move.move_id, **self.evidence(move).model_dump()}
                traffic.end(table, "control", actor=ACTOR, evidence=evidence)
            return
        if self._arm_of(move) is None:
            assert move.from_version is not None
            ref = self.registry().ref(move.name, move.from_version)
            evidence = {"move_id": move.move_id, "policy": self.policy.model_dump(mode="json")}
            percent = self.policy.control_percent
            split = traffic.set(ref, kind="control", percent=percent, actor=ACTOR, until=ends_at, evidence=evidence)
            log.info("%s goes on answering %g %% of the subjects of %s", ref, percent, table)
        if split is None or split.ref.version != move.from_version:
            return  # somebody ended it: nothing is compared any more
        newest = self.ledger.cut()
        if self.seen.get(move.move_id) == newest:
            return
        self._count(move, split)
        found = self.evidence(move)
        if found.is_worse:
            self._roll_back(move, found)
        self.seen[move.move_id] = newest  # last: what failed on the way is done by the next look

    def evidence(self, move: JournalEntry) -> Watched:
        """What has been counted over a promotion, and what it comes to."""
        query = select(watched).where(watched.c.move_id == move.move_id).order_by(watched.c.sequence)
        with self.ledger.database.read() as connection:
            rows = connection.execute(query).all()
        return judge([(bool(row.is_control), float(row.score)) for row in rows], self.policy)

    def _roll_back(self, move: JournalEntry, found: Watched) -> None:
        reason = (
            f"people like v{move.to_version} less than v{move.from_version}: {found.mean_new:.2f} of {found.num_new} "
            f"subjects against {found.mean_control:.2f} of {found.num_control}, e-value {found.e_value:.0f}"
        )
        log.warning("rolling back %s: %s", move.name, reason)
        journal = Journal(self.ledger, self.settings.workspace)
        evidence = {"move_id": move.move_id, **found.model_dump()}
        try:
            journal.rollback(
                self.registry(), move.name, actor=ACTOR, reason=reason, to=move.from_version, evidence=evidence
            )
        except UsageError as err:  # the journal begins after the old champion was made one
            log.error("%s", err)
        Traffic(self.ledger, self.settings.workspace).end(
            move.name.removeprefix(PREFIX), "control", actor=ACTOR, evidence={"reason": reason}
        )

    def _arm_of(self, move: JournalEntry) -> JournalEntry | None:
        """The entry that set the control arm for this promotion."""
        arms = (one for one in self.ledger.journal(move.name) if one.action == "control")
        return next((one for one in arms if one.evidence.get("move_id") == move.move_id), None)

    def _ended(self, move: JournalEntry) -> bool:
        arm = self._arm_of(move)
        ends = (one for one in self.ledger.journal(move.name) if one.action == "off" and one.alias == "control")
        return arm is not None and any(one.sequence > arm.sequence for one in ends)

    # ------------------------------------------------------------ counting

    def _count(self, move: JournalEntry, split: Split) -> None:
        table = move.name.removeprefix(PREFIX)
        rows = self.ledger.feedback_upto(table, self.ledger.cut())
        mine = [row for row in rows if row.at >= split.at and row.subject is not None]
        if not mine:
            return
        accepted = self._accepted(table, rows)
        counted = self._counted(move)
        for row in mine:
            score = score_of(row)
            if score is None or row.subject is None or row.subject in counted or row.feedback_id not in accepted:
                continue
            is_control = split.takes(row.subject)
            if row.model_version != (split.ref.version if is_control else move.to_version):
                continue  # a canary's, or an answer of before
            if not self._had_its_answer(row, since=split.at, known_before=move.at):
                continue
            counted.add(row.subject)
            kept: dict[str, object] = {"move_id": move.move_id, "feedback_id": row.feedback_id, "subject": row.subject}
            kept |= {"at": self.ledger.now(), "is_control": int(is_control), "score": score}
            with self.ledger.database.write() as connection:
                connection.execute(watched.insert(), kept)

    def _counted(self, move: JournalEntry) -> set[str]:
        with self.ledger.database.read() as connection:
            rows = connection.execute(select(watched.c.subject).where(watched.c.move_id == move.move_id)).all()
        return {str(row.subject) for row in rows}

    def _had_its_answer(self, row: Feedback, *, since: float, known_before: float) -> bool:
        """Whether the subject speaks of an answer that it was given itself since then, and is known, if it must be."""
        answer = self.ledger.answer(row.request_id)
        if answer is None or answer.at < since or answer.subject != row.subject:
            return False
        if not self.policy.known_subjects:
            return True
        first = select(func.min(answers.c.at)).where(answers.c.subject == row.subject)
        with self.ledger.database.read() as connection:
            at = connection.execute(first).scalar()
        return at is not None and float(at) < known_before

    def _accepted(self, table: str, rows: list[Feedback]) -> set[str]:
        """Ids of the rows that screening does not refuse for what they are."""
        from components.feedback.curation import rows_for_training
        from components.feedback.preferences import usable
        from components.tasks import get_task

        head = versioning.head(self.settings)
        if head is not None:
            try:
                data_dir = versioning.path_of(head, self.settings)
                task = get_task(table_info(data_dir, table).task)
                curated = rows_for_training(
                    self.ledger, table, self.ledger.cut(), task=task, data_dir=data_dir, policy=self.screening
                )
                return {row.feedback_id for row in usable(rows, curated.refused)}
            except (DataError, MappingError) as err:
                log.warning("screening %s without its data: %s", table, err)
        flooding = bursts(rows, self.screening)
        return {row.feedback_id for row in rows if row.sequence not in flooding and not _is_bad(row)}


def score_of(row: Feedback) -> float | None:
    """What a row says of its answer, 0 (unwanted) to 1 (wanted); None where it says nothing of it alone."""
    if row.kind == "rate":
        return None if row.rating is None else (row.rating - 1) / 4
    said = thumb(row.kind, row.rating)
    return {"approve": 1.0, "reject": 0.0, "correct": 0.0}.get(said)


def _is_bad(row: Feedback) -> bool:
    texts = [text for text in (row.text, row.correction, row.comment) if text]
    return is_secret(texts) or is_injection(texts) or is_spam(texts)
