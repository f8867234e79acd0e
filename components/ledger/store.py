"""The ledger: the store of record for answers, feedback, fates, the journal and costs (design D8).

What it has acknowledged is on disk. What others must learn of it leaves through the outbox, which
is written in the same transaction.
"""

import functools
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, bindparam, delete, select

from components.errors import UsageError
from components.ledger.attempts import Attempts
from components.ledger.database import Database, insert_new, next_value
from components.ledger.kinds import check_kind
from components.ledger.pseudonyms import load_key, pseudonym
from components.ledger.schema import (
    Cost,
    Fate,
    FateName,
    FeedbackKind,
    FinishReason,
    answers,
    appeals,
    costs,
    cuts,
    failures,
    fates,
    feedback,
    journal,
    looks,
    raw_prompts,
    verdicts,
)
from components.refs import ModelRef
from components.settings import Settings

Mask = Callable[[Sequence[str]], list[str]]
"""Takes personal data out of the texts of one row: the same value becomes the same placeholder in all of them."""
APPEALED = "appealed by an operator"
"""The reason of a row's second `received`."""
# Made once: building and hashing a statement anew was a third of a row's time.
_ADD_RAW, _ADD_FEEDBACK, _ADD_FATE = (t.insert() for t in (raw_prompts, feedback, fates))
_KNOWN = select(feedback.c.sequence, feedback.c.content_sha256).where(feedback.c.feedback_id == bindparam("id"))
_ABOUT = (
    select(answers.c.table_name, raw_prompts.c.text, raw_prompts.c.output)
    .join_from(answers, raw_prompts, raw_prompts.c.request_id == answers.c.request_id, isouter=True)
    .where(answers.c.request_id == bindparam("id"))
)
GENESIS = "0" * 64
"""What the journal's first link has for its previous one."""


class GateVerdict(Protocol):
    """What the ledger keeps of the gate's verdict (`evaluation.gate.Verdict`)."""

    @property
    def verdict(self) -> Literal["promote", "reject", "inconclusive"]: ...
    @property
    def difference(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def p_value(self) -> float: ...
    @property
    def num_examples(self) -> int: ...
    @property
    def num_more_needed(self) -> int | None: ...
    @property
    def policy(self) -> Any: ...


class Ledger(Attempts):
    """The ledger of one installation; threads may share it, each process opens its own.

    Every method raises LedgerError when the database does not take or give something.
    """

    def __init__(self, settings: Settings, *, mask: Mask | None = None, clock: Callable[[], float] = time.time) -> None:
        """Open the ledger (`settings.ledger_url`, or SQLite in the workspace), making what is missing.

        Args:
            mask: what takes personal data out of a row; default: `data.privacy.mask_row` of the settings' kinds.
            clock: seconds since the epoch, UTC.
        """
        database = Database(settings.ledger_url or f"sqlite:///{settings.workspace.ledger}")
        super().__init__(database, clock=clock, trace_share=settings.trace_share)
        self._key = load_key(settings.workspace.secrets / "pseudonyms.key")
        self._retention_seconds = settings.prompt_retention_days * 86_400.0
        self._mask = mask or _default_mask(settings.masked_kinds)

    @property
    def database(self) -> Database:
        """For what keeps tables of its own beside the ledger's."""
        return self._database

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now(self) -> float:
        """The ledger's clock."""
        return self._now()

    def exclusively(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock that machines sharing this ledger see (see `Database.exclusively`)."""
        return self._database.exclusively(name)

    def pseudonym(self, subject: str) -> str:
        """How `subject` appears in the ledger."""
        return pseudonym(self._key, subject)

    def masked(self, texts: Sequence[str]) -> list[str]:
        """The texts of one row without personal data."""
        return self._mask(texts)

    # ------------------------------------------------------------ answers and feedback

    def record_answer(
        self,
        request_id: str,
        *,
        table: str,
        model: ModelRef,
        template_sha256: str,
        generation: Mapping[str, Any],
        text: str,
        output: str,
        confidence: float | None = None,
        alternatives: Sequence[tuple[str, float]] = (),
        subject: str | None = None,
        seconds: float = 0.0,
        finish_reason: FinishReason | None = None,
    ) -> None:
        """Keep an answer; it is durable when this returns. The same request id twice is one row.

        `text` and `output` are kept masked, and word for word only under the retention (not at all if that is 0
        days). `subject` is kept as its pseudonym.
        """
        at = self._now()
        masked_text, masked_output = self._mask([text, output])
        row = {
            "request_id": request_id,
            "at": at,
            "table_name": table,
            "model_name": model.name,
            "model_version": model.version,
            "weights_sha256": model.weights_sha256,
            "template_sha256": template_sha256,
            "generation": dict(generation),
            "text": masked_text,
            "output": masked_output,
            "confidence": confidence,
            "alternatives": [[label, p] for label, p in alternatives],
            "subject": None if subject is None else self.pseudonym(subject),
            "seconds": seconds,
            "finish_reason": finish_reason,
        }
        with self._database.write() as connection:
            if not insert_new(connection, answers, [row]):
                return
            if self._retention_seconds:
                raw = {"request_id": request_id, "at": at, "text": text, "output": output}
                connection.execute(_ADD_RAW, raw)
            self._mirror(connection, "trace", request_id, {"request_id": request_id})

    def record_feedback(
        self,
        feedback_id: str,
        *,
        request_id: str,
        kind: FeedbackKind,
        correction: str | None = None,
        comment: str | None = None,
        rating: int | None = None,
        other_request_id: str | None = None,
        subject: str | None = None,
        channel: str = "api",
    ) -> int:
        """Keep a feedback row and give its sequence; it is durable when this returns.

        `rating` is 1 to 5. Of a preference, `request_id` is the answer that is liked better, `other_request_id` the
        other one: to the same text.

        The same id twice is one row, and the second call gives the first one's sequence. The fate `received`
        and the outbox's row come with it, or none of the three does.

        Raises:
            UsageError: no answer has this request id (look with `answer` first), the kind is unknown or does not go
                with what is given, or the id already stands for other feedback.
        """
        check_kind(kind, correction=correction, comment=comment, rating=rating, other=other_request_id)
        said: list[str | int | None] = [request_id, kind, correction, comment]
        said += [rating, other_request_id] if rating is not None or other_request_id is not None else []
        content = json.dumps(said, ensure_ascii=False)
        content_sha256 = hmac.new(self._key, content.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        with self._database.write() as connection:
            sequence = None
            earlier = connection.execute(_KNOWN, {"id": feedback_id}).first()
            if earlier is None:
                sequence = next_value(connection, "feedback")
                if not self._database.is_sqlite:  # which has one writer: nobody came in between
                    # Writers of the same id have waited for the counter.
                    earlier = connection.execute(_KNOWN, {"id": feedback_id}).first()
            if earlier is not None:
                if earlier.content_sha256 != content_sha256:
                    raise UsageError(f"feedback {feedback_id!r} is already kept with other content", "use a new id")
                return int(earlier.sequence)
            assert sequence is not None
            about = connection.execute(_ABOUT, {"id": request_id}).first()
            if about is None:
                raise UsageError(f"there is no answer with request id {request_id!r}", "use the id in the receipt")
            if other_request_id is not None:
                self._must_compare(connection, request_id, other_request_id)
            # Beside what the answer was about, so that a correction's [EMAIL_1] is the prompt's.
            raw = () if about.text is None else (about.text, about.output)
            masked = self._mask([*raw, correction or "", comment or ""])
            at = self._now()
            row = {
                "sequence": sequence,
                "feedback_id": feedback_id,
                "request_id": request_id,
                "at": at,
                "table_name": about.table_name,
                "kind": kind,
                "correction": None if correction is None else masked[-2],
                "comment": None if comment is None else masked[-1],
                "rating": rating,
                "other_request_id": other_request_id,
                "subject": None if subject is None else self.pseudonym(subject),
                "channel": channel,
                "content_sha256": content_sha256,
            }
            connection.execute(_ADD_FEEDBACK, row)
            connection.execute(_ADD_FATE, _fate_row(Fate(feedback_id, at, "received")))
            resource = {"prefect.resource.id": f"banyan.feedback.{feedback_id}", "banyan.table": about.table_name}
            payload = {"sequence": sequence, "kind": kind, "channel": channel}
            self._enqueue(connection, "banyan.feedback.received", resource, payload)
            self._mirror(connection, "assessment", request_id, {"feedback_id": feedback_id})
        return sequence

    def _must_compare(self, connection: Connection, request_id: str, other: str) -> None:
        rows = connection.execute(
            select(answers.c.request_id, answers.c.table_name, answers.c.text).where(
                answers.c.request_id.in_([request_id, other])
            )
        ).all()
        if other not in {row.request_id for row in rows}:
            raise UsageError(f"there is no answer with request id {other!r}", "use the id in the receipt")
        if len(rows) < 2 or len({(row.table_name, row.text) for row in rows}) > 1:
            raise UsageError("a preference is between two answers to the same text", "ask the same text twice")

    def raw_prompt(self, request_id: str) -> str | None:
        """What came in word for word; None once the retention has passed."""
        exchange = self.raw_exchange(request_id)
        return exchange[0] if exchange else None

    def raw_exchange(self, request_id: str) -> tuple[str, str] | None:
        """What came in and what was said, word for word; None once the retention has passed."""
        query = select(raw_prompts.c.text, raw_prompts.c.output).where(
            raw_prompts.c.request_id == request_id, raw_prompts.c.at >= self._now() - self._retention_seconds
        )
        rows = self._all(query)
        return (str(rows[0][0]), str(rows[0][1])) if rows else None

    def purge_raw_prompts(self) -> int:
        """Delete the raw prompts that are past their retention, from the files too; how many there were."""
        with self._database.write() as connection:
            old = delete(raw_prompts).where(raw_prompts.c.at < self._now() - self._retention_seconds)
            num_purged = connection.execute(old).rowcount
        if num_purged:
            self._database.scrub()
        return num_purged

    # ------------------------------------------------------------ fates and cuts

    def append_fates(self, rows: Iterable[Fate]) -> int:
        """Append steps to feedback rows' ways, all or none; how many are new (a retried step adds nothing)."""
        with self._database.write() as connection:
            return insert_new(connection, fates, [_fate_row(row) for row in rows])

    def fate(self, feedback_id: str, fate: FateName, **details: Any) -> Fate:
        """A `Fate` of now, to be appended."""
        return Fate(feedback_id, self._now(), fate, **details)

    def appeal(self, feedback_id: str, *, actor: str, why: str) -> int:
        """Overrule a refusal: from now on cuts admit the row. Its sequence; the same appeal twice is one.

        The row's way goes on with `received`, where its author reads why. Who it was is for operators to know.

        Raises:
            UsageError: there is no such feedback.
        """
        known = select(appeals.c.sequence).where(appeals.c.feedback_id == feedback_id)
        with self._database.write() as connection:
            if (earlier := connection.execute(known).scalar()) is not None:
                return int(earlier)
            row = connection.execute(select(feedback.c.table_name).where(feedback.c.feedback_id == feedback_id)).first()
            if row is None:
                raise UsageError(f"there is no feedback {feedback_id!r}", "see: banyan feedback list TABLE")
            sequence, at = next_value(connection, "feedback"), self._now()
            mine = {"sequence": sequence, "feedback_id": feedback_id, "at": at, "actor": actor, "why": why}
            connection.execute(appeals.insert().values(mine))
            again = Fate(feedback_id, at, "received", reason=APPEALED, effect={"why": why})
            connection.execute(fates.insert().values(_fate_row(again)))
            resource = {"prefect.resource.id": f"banyan.feedback.{feedback_id}", "banyan.table": row.table_name}
            self._enqueue(connection, "banyan.feedback.received", resource, {"sequence": sequence, "kind": "appeal"})
        return sequence

    def consume(self, table: str, cut: int, *, outcome: str, model: ModelRef | None = None) -> None:
        """Record that a retraining has reached its verdict on the feedback up to `cut`, or refused all of it.

        Args:
            outcome: promote | reject | inconclusive | refused.
        """
        row = {
            "table_name": table,
            "cut": cut,
            "at": self._now(),
            "outcome": outcome,
            "model_name": model.name if model else "",
            "model_version": model.version if model else 0,
        }
        with self._database.write() as connection:
            insert_new(connection, cuts, [row])

    # ------------------------------------------------------------ journal, verdicts, costs

    def append_journal(
        self, entry: Mapping[str, Any], *, event: str = "", beside: Callable[[Connection], None] | None = None
    ) -> str:
        """Chain one link to the journal and give its hash: sha256 of the previous hash and the entry's JSON.

        For `journal.py` alone. `event`: what others are told of it, through the outbox, in the same transaction;
        `beside`: what else is written in it.
        """
        with self._database.write() as connection:
            if beside:
                beside(connection)
            sequence = next_value(connection, "journal")
            last = connection.execute(select(journal.c.hash).order_by(journal.c.sequence.desc()).limit(1)).scalar()
            previous = str(last or GENESIS)
            content = json.dumps({"at": self._now(), **entry}, sort_keys=True, ensure_ascii=False)
            link = link_hash(previous, content)
            row = {"sequence": sequence, "previous": previous, "hash": link, "entry": content}
            connection.execute(journal.insert().values(row))
            if event:
                resource = {
                    "prefect.resource.id": f"banyan.model.{entry['name']}",
                    "banyan.actor": str(entry.get("actor", "")),
                }
                self._enqueue(connection, event, resource, dict(entry))
        return link

    def record_verdict(
        self,
        challenger: ModelRef,
        verdict: GateVerdict,
        *,
        champion: ModelRef | None,
        metric: str,
        data_version: str,
        test_set: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what the gate found; the same comparison twice is one row.

        Args:
            champion: what it was compared with; None for the plain baseline.
            metric: what `difference` is in, such as 'accuracy'.
            data_version: whose test split was answered.
            test_set: the name of the rows that were answered (`spending.set_name`): the comparison is one of its
                looks. Empty for one that can promote nothing, as a control's.
            evidence: all that the gate found, as JSON; kept with the look.
        """
        names = ("verdict", "difference", "low", "high", "p_value", "num_examples", "num_more_needed")
        row = {name: getattr(verdict, name) for name in names} | {
            "at": self._now(),
            "model_name": challenger.name,
            "model_version": challenger.version,
            "against": "champion" if champion else "baseline",
            "against_version": champion.version if champion else 0,
            "metric": metric,
            "data_version": data_version,
            "policy": verdict.policy.model_dump(mode="json"),
        }
        shared = ("at", "model_name", "model_version", "against", "against_version", "verdict")
        seen = {name: row[name] for name in shared} | {"test_set": test_set, "evidence": dict(evidence or {})}
        with self._database.write() as connection:
            insert_new(connection, verdicts, [row])
            if test_set:
                insert_new(connection, looks, [seen])

    def record_failures(self, counts: Mapping[tuple[float, str, str], int]) -> None:
        """Keep how many requests got no answer: (second since the epoch, table, error) → requests."""
        named = [dict(zip(("at", "table_name", "error"), key, strict=True)) for key in counts]
        rows = [row | {"num_requests": count} for row, count in zip(named, counts.values(), strict=True)]
        with self._database.write() as connection:
            connection.execute(failures.insert(), rows)

    def record_cost(
        self,
        run_id: str,
        stage: str,
        *,
        subject_name: str,
        device: str,
        seconds: float,
        cpu_seconds: float | None = None,
        peak_memory_bytes: int | None = None,
        num_tokens: int | None = None,
        energy_joules: float | None = None,
        energy_source: str | None = None,
    ) -> None:
        """Keep what a stage of a run cost; the same stage again replaces it (a resumed run knows its total)."""
        used = (seconds, cpu_seconds, peak_memory_bytes, num_tokens, energy_joules, energy_source)
        row = asdict(Cost(self._now(), run_id, stage, subject_name, device, *used))
        with self._database.write() as connection:
            connection.execute(delete(costs).where(costs.c.run_id == run_id, costs.c.stage == stage))
            connection.execute(costs.insert().values(row))


def _default_mask(kinds: frozenset[str]) -> Mask:
    from components.data.privacy import mask_row

    return functools.partial(mask_row, kinds=kinds)


def link_hash(previous: str, entry: str) -> str:
    """A journal link's hash, hexadecimal."""
    return hashlib.sha256(f"{previous}\n{entry}".encode()).hexdigest()


def as_utc(at: float) -> datetime:
    """A ledger time as a datetime."""
    return datetime.fromtimestamp(at, UTC)


def _fate_row(row: Fate) -> dict[str, Any]:
    fields = asdict(row)
    return fields | {"effect": None if row.effect is None else dict(row.effect)}
