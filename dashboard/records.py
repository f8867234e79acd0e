"""What the stores answer with: frozen values, and the one error. Times are seconds since the epoch, UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from components.errors import BanyanError
from components.ledger.schema import Cost, Cut, JournalEntry, VerdictRow

StoreName = Literal["registry", "prefect", "ledger", "gateway", "data"]
T = TypeVar("T")


class StoreError(BanyanError):
    """A store did not answer, or refused. `is_down`: it may answer later; else asking again changes nothing."""

    def __init__(self, store: StoreName, message: str, remedy: str = "", *, is_down: bool = True) -> None:
        super().__init__(message, remedy)
        self.store = store
        self.is_down = is_down


@dataclass(frozen=True)
class ModelVersion:
    """A registered model version."""

    name: str
    version: int
    table: str
    task: str
    role: str
    is_champion: bool
    created_at: float
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    recipe: Mapping[str, Any]
    """What it was trained by; empty where the version does not say."""
    run_id: str
    weights_sha256: str
    url: str
    """Its page in MLflow."""


@dataclass(frozen=True)
class DataVersion:
    """A data version's manifest."""

    version: str
    name: str
    created_at: float
    parent: str
    is_head: bool
    rows: Mapping[str, Mapping[str, int]]
    """Table → split → rows."""
    sources: Mapping[str, Mapping[str, int]]
    """Table → source → rows."""
    labels: Mapping[str, Mapping[str, int]]
    """Table → label → rows; none where the answers are free text."""
    licences: Mapping[str, str]
    """Source → licence."""
    rejects: Mapping[str, Mapping[str, int]]
    """Table → reason → rows dropped."""
    changed: Mapping[str, Mapping[str, int]]
    """Table → what was done (masked, shortened, filled in) → rows."""
    num_checks: int
    docs: Path | None
    """The validation report's first page (Data Docs)."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Split → tokens, of a packed corpus; none of tables."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Table → its hash: the same in two versions where it has not changed."""

    @property
    def num_rows(self) -> int:
        return sum(sum(splits.values()) for splits in self.rows.values())


@dataclass(frozen=True)
class FailedBuild:
    """A build that did not become a version: it stands aside with its report."""

    name: str
    at: float
    failed: tuple[str, ...]
    """What did not hold, one line a check."""
    docs: Path | None


@dataclass(frozen=True)
class DataState:
    versions: tuple[DataVersion, ...]
    """Newest first."""
    failed: tuple[FailedBuild, ...]


@dataclass(frozen=True)
class Run:
    """A flow run."""

    id: str
    name: str
    flow: str
    pool: str
    state: str
    """Prefect's state type: SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CRASHED, CANCELLED, PAUSED …"""
    state_name: str
    message: str
    created_at: float
    started_at: float | None
    seconds: float
    table: str
    parent: str
    url: str
    by: str
    """Who or what started it: a deployment's schedule, an automation, a client."""


@dataclass(frozen=True)
class Step:
    name: str
    state: str
    seconds: float


@dataclass(frozen=True)
class RunDetail:
    """What happened inside a run."""

    steps: tuple[Step, ...]
    progress: tuple[float, str] | None
    """Percent and what the step says of itself."""
    log: tuple[tuple[float, int, str], ...]
    """(time, level, line), oldest first; the last lines only."""


@dataclass(frozen=True)
class Schedule:
    """When a deployment starts by itself."""

    name: str
    flow: str
    of: str
    """The table, model or recipe that its runs are about."""
    cron: str
    timezone: str
    is_active: bool
    next_at: tuple[float, ...]
    """As Prefect has planned them."""


@dataclass(frozen=True)
class Curve:
    """A training that is at work, as MLflow has it."""

    name: str
    points: tuple[tuple[int, float], ...]
    """(step, loss in nats), in order of steps."""


@dataclass(frozen=True)
class Orchestration:
    runs: tuple[Run, ...]
    """Newest first."""
    running_steps: Mapping[str, str]
    """Run id → the step that runs in it now."""
    deployments: tuple[str, ...]
    num_workers: int
    """Of pool cpu."""
    url: str
    schedules: tuple[Schedule, ...] = ()
    unserved: frozenset[str] = frozenset()
    """Pools in which a run waits and no worker is."""


@dataclass(frozen=True)
class TableActivity:
    """What the ledger counts for one table."""

    table: str
    num_answers: int
    answers_by_version: Mapping[int, int]
    kinds: Mapping[str, int]
    fates: Mapping[str, int]
    refusals: Mapping[str, int]
    num_pending: int
    """Feedback that no retraining has consumed yet."""
    corrected_now_right: float | None
    cuts: tuple[Cut, ...]

    @property
    def num_feedback(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True)
class LedgerState:
    tables: tuple[TableActivity, ...]
    verdicts: tuple[VerdictRow, ...]
    """Oldest first."""
    journal: tuple[JournalEntry, ...]


@dataclass(frozen=True)
class Seat:
    """Who answers for a table at the gateway."""

    table: str
    state: str
    """ready, loading, swapping, stale, failed."""
    problem: str
    model: str
    version: int | None
    task: str
    example: str
    labels: tuple[str, ...]
    has_challenger: bool = False
    """Whether somebody can be asked beside the champion."""


@dataclass(frozen=True)
class Answered:
    """One answer with its receipt."""

    request_id: str
    table: str
    question: str
    output: str
    confidence: float | None
    alternatives: tuple[tuple[str, float], ...]
    receipt: Mapping[str, Any]


@dataclass(frozen=True)
class Cited:
    """A passage that an answer names, or was shown."""

    number: int
    document: str
    text: str
    heading: str = ""
    """What the passage stands under in its document."""
    is_verbatim: bool = True
    """Whether it holds what was said, word for word."""


@dataclass(frozen=True)
class Turn:
    """One exchange of a conversation."""

    question: str
    answered: Answered
    cited: tuple[Cited, ...]
    shown: tuple[Cited, ...]


@dataclass(frozen=True)
class Service:
    name: str
    state: str
    url: str


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What a page has of a store: fresh, or what it said last (`problem` says why), or nothing."""

    store: StoreName
    value: T | None
    at: float
    """When `value` was read; when it was tried, if there is none."""
    problem: StoreError | None = None

    @property
    def is_failed(self) -> bool:
        return self.value is None

    @property
    def is_stale(self) -> bool:
        return self.problem is not None and self.value is not None


# ---------------------------------------------------------------- evidence and costs


@dataclass(frozen=True)
class Bin:
    """Answers of like confidence: means in [0, 1], and how many there are."""

    confidence: float
    score: float
    count: int


@dataclass(frozen=True)
class Planned:
    """What a training was to take on this machine, and what it took."""

    name: str
    seconds: float
    kwh: float
    cost: float
    actual_seconds: float | None
    lock_key: str


@dataclass(frozen=True)
class CostState:
    costs: tuple[Cost, ...]
    """Oldest first."""
    plans: tuple[Planned, ...]
    price_a_kwh: float
    price_an_hour: float
    currency: str
