"""The models page: one application's champion, how good it is, why it was chosen, and where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.ecosystem import State
from components.ledger.schema import JournalEntry, VerdictRow
from dashboard.records import LedgerState, ModelVersion
from dashboard.text import Words
from dashboard.viewmodels.shapes import (
    LOWER_IS_BETTER,
    Bar,
    Fact,
    Line,
    bare_difference,
    champion_of,
    difference,
    last_verdict,
    metric_of,
    score,
    short,
    taken_back,
)

VERDICT_STATE: Mapping[str, State] = {"promote": "ready", "reject": "failed", "inconclusive": "waiting"}


@dataclass(frozen=True)
class Interval:
    """A difference with its interval, as shares of the drawn width."""

    zero: float
    low: float
    high: float
    point: float
    low_text: str
    high_text: str
    state: State


@dataclass(frozen=True)
class VerdictView:
    title: str
    against: str
    detail: str
    more: str
    state: State
    interval: Interval
    since: str = ""
    """What has become of a version that was promoted."""


@dataclass(frozen=True)
class VersionRow:
    version: str
    role: str
    score: str
    data: str
    trained: str
    is_champion: bool
    url: str


@dataclass(frozen=True)
class ModelsView:
    shown: ModelVersion
    """The champion, or the newest version while there is none."""
    champion: ModelVersion | None
    lineage_of: str
    metric: str
    is_lower_better: bool
    bars: tuple[Bar, ...]
    verdict: VerdictView | None
    versions: tuple[VersionRow, ...]
    lineage: tuple[Fact, ...]
    moves: tuple[Line, ...]


def names(models: Sequence[ModelVersion]) -> list[str]:
    """Registered models: those with a champion first."""
    found = {model.name: False for model in models}
    for model in models:
        found[model.name] |= model.is_champion
    return sorted(found, key=lambda name: (not found[name], name))


def retrainable(models: Sequence[ModelVersion]) -> list[str]:
    """Tables of the models that feedback can improve: those that answer a task."""
    return sorted({model.table for model in models if model.task != "corpus"})


def models_view(models: Sequence[ModelVersion], ledger: LedgerState | None, name: str, words: Words) -> ModelsView:
    """The page for one registered model; `models` holds at least one version of it."""
    mine = [model for model in models if model.name == name]
    champion = champion_of(mine, name)
    shown = champion or mine[0]
    metric = metric_of(shown)
    verdicts = ledger.verdicts if ledger else ()
    controls = {model.version for model in mine if model.role == "control"}  # judged for comparison, never promoted
    last = last_verdict([row for row in verdicts if row.model_version not in controls], name)
    moves = _moves(ledger.journal if ledger else (), name)
    taken = [version for model_name, version in taken_back(moves) if model_name == name]
    return ModelsView(
        shown=shown,
        champion=champion,
        lineage_of=f"{shown.table} v{shown.version}",
        metric=words.named("metric", metric),
        is_lower_better=metric in LOWER_IS_BETTER,
        bars=tuple(bars(mine, verdicts, metric, words, taken=taken[-1] if taken else None)),
        verdict=verdict_view(last, words, is_taken_back=last.model_version in taken) if last else None,
        versions=tuple(_version_row(model, metric, words) for model in mine),
        lineage=tuple(lineage_facts(shown, words)),
        moves=tuple(_move(entry, words) for entry in moves),
    )


def bars(
    mine: Sequence[ModelVersion], verdicts: Sequence[VerdictRow], metric: str, words: Words, *, taken: int | None = None
) -> list[Bar]:
    """Champion, the one before it or `taken` back, the newest control, the plain baseline: as far as there are any."""
    if not metric or not mine:
        return []
    champion = champion_of(mine, mine[0].name)
    values: list[tuple[str, float, str, str]] = []
    shown = champion or mine[0]
    key = "models.bar.champion" if champion else "models.bar.version"
    values.append((words(key, version=shown.version), shown.metrics[metric], "strong", ""))
    previous = last_verdict(verdicts, shown.name, shown.version, against="champion")
    before = next((m for m in mine if previous and m.version == previous.against_version and metric in m.metrics), None)
    if before:
        values.append((words("models.bar.before", version=before.version), before.metrics[metric], "blue", ""))
    left = next((m for m in mine if m.version == taken and metric in m.metrics), None)
    if left:
        values.append((words("models.bar.taken", version=left.version), left.metrics[metric], "blue", ""))
    controls = [m for m in mine if m.role == "control" and metric in m.metrics]
    # the retraining's own before one that somebody trained by another recipe, on other rows perhaps
    control = next((m for m in controls if _is_by_random_rows(m)), next(iter(controls), None))
    if control:
        label = words("models.bar.control", version=control.version)
        by = words("models.bar.control.note") if _is_by_random_rows(control) else str(control.recipe.get("name", ""))
        values.append((label, control.metrics[metric], "warn", by))
    baseline = baseline_of([shown, *mine], verdicts, metric)
    if baseline is not None:
        value, version = baseline
        note = words("models.bar.baseline.note", version=version) if version != shown.version else ""
        values.append((words("models.bar.baseline"), value, "plain", note))
    top = 1.0 if metric not in LOWER_IS_BETTER else max(value for _, value, _, _ in values) or 1.0
    chance = shown.metrics.get("chance") if metric == "accuracy" else None
    return [
        Bar(label, min(1.0, value / top), score(words, metric, value), tone, note, chance)  # type: ignore[arg-type]
        for label, value, tone, note in values
    ]


def _is_by_random_rows(model: ModelVersion) -> bool:
    """Whether it was trained beside a retraining, on rows of the reserve in place of feedback."""
    return "reserve" in (model.recipe.get("splits") or {})


def baseline_of(
    models: Sequence[ModelVersion], verdicts: Sequence[VerdictRow], metric: str
) -> tuple[float, int] | None:
    """The plain baseline's score on the test split and the version that it was measured beside: the first of

    `models` that knows, by what was logged, else by the gate's difference.
    """
    for model in models:
        logged = model.metrics.get(f"baseline_{metric}")
        if logged is not None:
            return logged, model.version
        verdict = last_verdict(verdicts, model.name, model.version, against="baseline")
        if verdict and metric in model.metrics:
            return model.metrics[metric] - verdict.difference, model.version
    return None


def verdict_view(row: VerdictRow, words: Words, *, is_taken_back: bool = False) -> VerdictView:
    """A verdict with its interval, drawn against zero."""
    state = VERDICT_STATE[row.verdict]
    against = "models.verdict.against.champion" if row.against == "champion" else "models.verdict.against.baseline"
    low, high = bare_difference(row.metric, row.low), difference(words, row.metric, row.high)
    detail = words(
        "models.verdict.detail",
        difference=difference(words, row.metric, row.difference),
        level=words.percent(float(row.policy.get("confidence_level", 0.95)), decimals=0),
        low=low,
        high=high,
        count=words.number(row.num_examples),
    )
    more = words("models.verdict.more", count=words.number(row.num_more_needed)) if row.num_more_needed else ""
    reach = max(abs(row.low), abs(row.high), 1e-9) * 2.0  # the figure beside the far end has room in a column

    def place(value: float) -> float:
        return (value + reach) / (2 * reach)

    return VerdictView(
        title=words(f"models.verdict.{row.verdict}", version=row.model_version),
        against=words(against, version=row.against_version),
        detail=detail,
        more=more,
        state=state,
        interval=Interval(0.5, place(row.low), place(row.high), place(row.difference), low, high, state),
        since=words("models.verdict.taken", version=row.model_version) if is_taken_back else "",
    )


def earlier_champions(ledger: LedgerState | None, now: ModelVersion) -> list[int]:
    """Versions that were champion before, the last one first: what can be gone back to."""
    moves = ledger.journal if ledger else ()
    mine = [e for e in moves if (e.name, e.alias, e.state) == (now.name, "champion", "done")]
    found = dict.fromkeys(entry.to_version for entry in sorted(mine, key=lambda entry: -entry.sequence))
    return [version for version in found if version != now.version]


def _version_row(model: ModelVersion, metric: str, words: Words) -> VersionRow:
    return VersionRow(
        version=words("version", version=model.version),
        role=words("models.role.champion") if model.is_champion else words.named("models.role", model.role),
        score=score(words, metric, model.metrics[metric]) if metric in model.metrics else words("tile.unknown"),
        data=short(model.tags.get("banyan.data_version", "")),
        trained=words.moment(model.created_at),
        is_champion=model.is_champion,
        url=model.url,
    )


def lineage_facts(model: ModelVersion, words: Words) -> list[Fact]:
    tags = model.tags
    facts = [
        Fact(words("models.lineage.task"), words.named("application", model.task)),
        Fact(words("models.lineage.trained"), words.moment(model.created_at)),
        Fact(words("models.lineage.data"), tags.get("banyan.data_version", ""), True),
        Fact(words("models.lineage.weights"), model.weights_sha256, True),
        Fact(words("models.lineage.recipe"), tags.get("banyan.recipe_sha256", ""), True),
        Fact(words("models.lineage.lock"), tags.get("banyan.lock_key", ""), True),
        Fact(words("models.lineage.revision"), tags.get("banyan.revision", ""), True),
    ]
    return [fact for fact in facts if fact.value]


def _moves(journal: Sequence[JournalEntry], name: str) -> list[JournalEntry]:
    """The champion's moves, newest first, each as it stands: a move has an entry when it begins and when it ends."""
    last = {entry.move_id: entry for entry in journal if entry.name == name and entry.alias == "champion"}
    return sorted(last.values(), key=lambda entry: -entry.sequence)


def _move(entry: JournalEntry, words: Words) -> Line:
    if entry.action == "rollback":
        text = words("models.journal.rollback", to=entry.to_version)
    elif entry.from_version is None:
        text = words("models.journal.first", to=entry.to_version)
    else:
        text = words("models.journal.promote", to=entry.to_version, previous=entry.from_version)
    # Why somebody, or the watch, went back; a gate's reason is its figures, which stand above.
    reason = str(entry.evidence.get("reason") or "") if entry.action == "rollback" else ""
    actor = words(f"actor.{entry.actor}") if words.has(f"actor.{entry.actor}") else entry.actor
    unfinished = {"intended": "waiting", "abandoned": "failed"}.get(entry.state)
    return Line(
        when=words.moment(entry.at),
        text=text,
        note=" · ".join(part for part in (actor, reason, entry.note) if part),
        state=unfinished or "ready",  # type: ignore[arg-type]
        state_text=words(f"models.journal.{entry.state}"),
        end=short(entry.hash),
    )
