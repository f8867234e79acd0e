"""The ledger's tables, what a reader gets out of them, and how a database is opened.

The same SQLAlchemy Core code runs on SQLite (the default: WAL, `synchronous=FULL`) and on
PostgreSQL by URL. Times are seconds since the epoch, UTC. People appear only as keyed pseudonyms,
and texts as masked copies; what came in word for word lives in `raw_prompts`, under a retention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 7
"""The newest revision in `migrations/versions`: a change of these tables is a new one there."""

FeedbackKind = Literal["approve", "reject", "correct", "rate", "prefer", "comment"]
SplitKind = Literal["canary", "shadow", "control"]
Destination = Literal["prefect", "mlflow"]
FinishReason = Literal["stop", "length", "cancelled"]
Role = Literal["viewer", "rater", "operator"]
FateName = Literal["received", "refused", "admitted", "trained", "measured"]
FATES: tuple[FateName, ...] = ("received", "refused", "admitted", "trained", "measured")

metadata = MetaData()
serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite autoincrements an INTEGER key only

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Sequences whose order is the order of commits. An autoincrement is not: on PostgreSQL row 8 may become visible
before row 7, and a cut at 8 would then mean two different sets. Taking the next value locks the counter's row."""

answers = Table(
    "answers",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("request_id", String(64), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("table_name", String(64), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("template_sha256", String(64), nullable=False),
    Column("generation", JSON, nullable=False),
    Column("text", Text, nullable=False),  # masked
    Column("output", Text, nullable=False),  # masked
    Column("confidence", Double),
    Column("alternatives", JSON, nullable=False),
    Column("subject", String(64)),  # pseudonym
    Column("seconds", Double, nullable=False),
    Column("finish_reason", String(16)),  # of a text that was written token by token
    Index("answers_by_table", "table_name", "sequence"),
    Index("answers_by_subject", "subject"),
    Index("answers_by_version", "table_name", "model_name", "model_version"),
)

raw_prompts = Table(
    "raw_prompts",
    metadata,
    Column("request_id", String(64), ForeignKey("answers.request_id", ondelete="CASCADE"), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("output", Text, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # from `counters`
    Column("feedback_id", String(64), nullable=False, unique=True),
    Column("request_id", String(64), ForeignKey("answers.request_id"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("table_name", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("correction", Text),  # masked
    Column("comment", Text),  # masked
    Column("rating", Integer),  # 1 to 5
    Column("other_request_id", String(64), ForeignKey("answers.request_id")),  # of `prefer`: the answer liked less
    Column("subject", String(64)),  # pseudonym
    Column("channel", String(64), nullable=False),
    Column("content_sha256", String(64), nullable=False),  # keyed, over what came in: is a repeated id the same row?
    Index("feedback_by_table", "table_name", "sequence"),
    Index("feedback_by_subject", "subject"),
)

fates = Table(
    "fates",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("feedback_id", String(64), ForeignKey("feedback.feedback_id"), nullable=False),
    Column("at", Double, nullable=False),
    Column("fate", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    # Empty and 0 rather than NULL: NULLs are distinct in a unique constraint, and a retried step must not add rows.
    Column("data_version", String(64), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("effect", JSON(none_as_null=True)),
    UniqueConstraint("feedback_id", "fate", "reason", "data_version", "model_name", "model_version"),
    Index("fates_by_feedback", "feedback_id", "sequence"),
)

cuts = Table(
    "cuts",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("table_name", String(64), nullable=False),
    Column("cut", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    UniqueConstraint("table_name", "cut"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("until", Double, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("table_name", String(64), nullable=False),
    Column("run_id", String(128), nullable=False, index=True),
    Column("cause", String(16), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("outcome", String(32), nullable=False),  # empty while it is at work
    Column("error", Text, nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Index("attempts_by_table", "table_name", "ended_at"),
)
"""Retrainings that began, whatever came of them; a cut is only written by one that reached its verdict."""

journal = Table(
    "journal",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # from `counters`
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("entry", Text, nullable=False),  # canonical JSON: the very bytes that are hashed
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("against", String(16), nullable=False),
    Column("against_version", Integer, nullable=False),
    Column("metric", String(32), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("difference", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("p_value", Double),
    Column("num_examples", Integer, nullable=False),
    Column("num_more_needed", Integer),
    Column("data_version", String(64), nullable=False),
    Column("policy", JSON, nullable=False),
    UniqueConstraint("model_name", "model_version", "against", "against_version", "metric", "data_version"),
)

looks = Table(
    "looks",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("test_set", String(64), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("against", String(16), nullable=False),
    Column("against_version", Integer, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("evidence", JSON, nullable=False),
    UniqueConstraint("test_set", "model_name", "model_version", "against", "against_version"),
)
"""Which comparisons a test set has decided, in their order: what the gate may still spend follows from it."""

appeals = Table(
    "appeals",
    metadata,
    # From the counter of `feedback`: a cut holds the appeals below it as it holds the rows, and stays repeatable.
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("feedback_id", String(64), ForeignKey("feedback.feedback_id"), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("why", Text, nullable=False),
)
"""Refusals that an operator overruled: the next cut admits the row."""

failures = Table(
    "failures",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),  # whole seconds
    Column("table_name", String(64), nullable=False),
    Column("error", String(64), nullable=False),
    Column("num_requests", Integer, nullable=False),
    Index("failures_by_table", "table_name", "at"),
)
"""Requests that got no answer for a reason of the gateway's own; with nothing of what was asked."""

costs = Table(
    "costs",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("stage", String(64), nullable=False),
    Column("subject_name", String(128), nullable=False),  # the model or the table that it was spent on
    Column("device", String(32), nullable=False),
    Column("seconds", Double, nullable=False),
    Column("cpu_seconds", Double),
    Column("peak_memory_bytes", BigInteger),
    Column("num_tokens", BigInteger),
    Column("energy_joules", Double),
    Column("energy_source", Text),
    UniqueConstraint("run_id", "stage"),
)

actions = Table(
    "actions",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("role", String(16), nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
)
"""What operators asked for through the one door (`ledger.actions`), and what was refused to others."""

outbox = Table(
    "outbox",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("event_id", String(64), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("event", String(64), nullable=False),
    Column("resource", JSON, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("delivered_at", Double),
    Column("num_attempts", Integer, nullable=False),
    Column("next_attempt_at", Double, nullable=False),
    Column("last_error", Text),
    Column("destination", String(16), nullable=False, server_default="prefect"),
    Index("outbox_due", "delivered_at", "next_attempt_at"),
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("role", String(16), nullable=False),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("requests_per_minute", Integer, nullable=False),
    Column("revoked_at", Double),
)


# ---------------------------------------------------------------- what readers get


@dataclass(frozen=True)
class Answer:
    """One answer with what its receipt says. `text` and `output` are the masked copies."""

    sequence: int
    request_id: str
    at: float
    table: str
    model_name: str
    model_version: int
    weights_sha256: str
    template_sha256: str
    generation: Mapping[str, Any]
    text: str
    output: str
    confidence: float | None
    alternatives: tuple[tuple[str, float], ...]
    subject: str | None
    seconds: float
    finish_reason: FinishReason | None = None
    """Of a text that was written token by token; `cancelled`: whoever asked left before its end."""


@dataclass(frozen=True)
class Feedback:
    """One feedback row, beside the answer that it is about; `fate` is the current one."""

    sequence: int
    feedback_id: str
    request_id: str
    at: float
    table: str
    kind: FeedbackKind
    correction: str | None
    comment: str | None
    subject: str | None
    channel: str
    text: str
    output: str
    model_name: str
    model_version: int
    fate: FateName
    reason: str
    rating: int | None = None
    other_request_id: str | None = None
    other_output: str | None = None
    """Of `prefer`: what the answer liked less said."""


@dataclass(frozen=True)
class Fate:
    """One step of a feedback row's way. `effect` (measured only): score_before, score_after in [0, 1], output_after.

    Of a training by preference also `by`: then the scores are how much the model likes what is wanted. Of a thumb down
    that was refused for naming no answer: output_after and is_given_again, of a model that did not learn from it. Of a
    row that was received again by an operator's word: why.
    """

    feedback_id: str
    at: float
    fate: FateName
    reason: str = ""
    data_version: str = ""
    model_name: str = ""
    model_version: int = 0
    effect: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Pending:
    """Feedback above the last consumed cut. Times are None when there is none."""

    count: int
    oldest_at: float | None
    newest_at: float | None
    cut: int


@dataclass(frozen=True)
class Cut:
    table: str
    cut: int
    at: float
    outcome: str
    model_name: str
    model_version: int


@dataclass(frozen=True)
class JournalEntry:
    """One link of the chain: what an alias move stood at (`intended`, `done`, `abandoned`)."""

    sequence: int
    at: float
    move_id: str
    state: Literal["intended", "done", "abandoned"]
    action: Literal["promote", "rollback", "canary", "shadow", "control", "off"]
    """The first two move an alias; the others change who answers beside the champion, and `alias` says in what part."""
    name: str
    alias: str
    from_version: int | None
    to_version: int
    weights_sha256: str
    actor: str
    evidence: Mapping[str, Any]
    note: str
    previous: str
    hash: str


@dataclass(frozen=True)
class VerdictRow:
    """The gate's answer for one challenger. `against`: 'champion' (and its version) or 'baseline' (version 0)."""

    at: float
    model_name: str
    model_version: int
    against: Literal["champion", "baseline"]
    against_version: int
    metric: str
    verdict: Literal["promote", "reject", "inconclusive"]
    difference: float
    low: float
    high: float
    p_value: float | None
    num_examples: int
    num_more_needed: int | None
    data_version: str
    policy: Mapping[str, Any]


@dataclass(frozen=True)
class LookRow:
    """A comparison that a test set has decided (`evaluation.spending`). `evidence`: all that the gate found."""

    at: float
    test_set: str
    model_name: str
    model_version: int
    against: Literal["champion", "baseline"]
    against_version: int
    verdict: Literal["promote", "reject", "inconclusive"]
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Cost:
    at: float
    run_id: str
    stage: str
    subject_name: str
    device: str
    seconds: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    num_tokens: int | None
    energy_joules: float | None = None
    energy_source: str | None = None
    """`rapl` or `nvml`, measured; `estimate: …` with what it assumes."""


@dataclass(frozen=True)
class ActionRow:
    """Something that somebody asked for. `outcome`: asked (it did not come back), done, failed, or refused."""

    sequence: int
    at: float
    actor: str
    role: Role
    action: str
    subject: str
    outcome: Literal["asked", "done", "failed", "refused"]
    detail: str


@dataclass(frozen=True)
class Key:
    """A key to the gateway, without its secret. `revoked_at` is None while it opens."""

    key_id: str
    name: str
    role: Role
    at: float
    requests_per_minute: int
    revoked_at: float | None


@dataclass(frozen=True)
class OutboxRow:
    sequence: int
    event_id: str
    at: float
    event: str
    resource: Mapping[str, str]
    payload: Mapping[str, Any]
    num_attempts: int
    last_error: str | None
