"""What the stores say of one turn of the loop."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.data import versioning
from components.data.versioning import Manifest
from components.errors import RegistryError, ServiceDown
from components.evaluation.cost import CostPair
from components.ledger.queries import LedgerQueries
from components.ledger.schema import Cost, Cut, Fate, Feedback, JournalEntry, VerdictRow
from components.ledger.store import Ledger
from components.registry import PREFIX, Registry, VersionInfo, model_name
from components.settings import Settings
from components.supervisor import addresses
from components.tasks import get_task

if TYPE_CHECKING:
    import pandas as pd

NUM_EXAMPLES = 5


@dataclass(frozen=True)
class Score:
    """One contestant on the untouched test split. Shares in [0, 1]."""

    version: int | str
    """Of the registered model; the method's name for the plain baseline."""
    accuracy: float
    """The mean score: accuracy for labels, ROUGE-L for free text."""
    top3: float | None
    """Share of examples whose label is among the first three; None for free text."""
    rows: "pd.DataFrame" = field(repr=False, compare=False)
    """The scores row by row, as in `Task.score`."""

    @property
    def standard_error(self) -> float:
        return float(self.rows["score"].std() / math.sqrt(len(self.rows))) if len(self.rows) > 1 else 0.0


@dataclass(frozen=True)
class Curve:
    """What a training logged while it ran."""

    model: str
    metric: str
    points: tuple[tuple[int, float], ...]
    """(step, value)"""


@dataclass(frozen=True)
class Facts:
    """All that the report shows. None stands for what has not happened."""

    table: str
    task: str
    metric: str
    champion_before: Score | None
    champion_after: Score | None
    baseline: Score | None
    control: Score | None
    verdict: VerdictRow | None
    """The gate's word on the retrained challenger, against the champion of then."""
    verdicts: tuple[VerdictRow, ...]
    cost: CostPair | None
    """Of the models that `verdict` compares; None where nobody noted it."""
    chance: float | None
    num_feedback: int
    kinds: Mapping[str, int]
    fates: Mapping[str, int]
    refusals: Mapping[str, int]
    cuts: tuple[Cut, ...]
    num_answers: Mapping[int, int]
    """Version → answers it gave."""
    corrected_now_right: float | None
    effects: tuple[tuple[Feedback, Fate], ...]
    """Corrected rows that are right now, a few."""
    data: tuple[Manifest, ...]
    """Newest first."""
    others: tuple[VersionInfo, ...]
    """The newest version of every other registered model."""
    curves: tuple[Curve, ...]
    journal: tuple[JournalEntry, ...]
    stages: Mapping[str, float]
    """Stage → seconds, in order of time."""
    urls: Mapping[str, str]


def demo_figures(facts: Facts) -> dict[str, Any]:
    """What `DEMO_JSON` gets; a figure is None where there is none."""
    verdict = facts.verdict
    return {
        "champion_before": _figures(facts.champion_before),
        "champion_after": _figures(facts.champion_after),
        "baseline": _figures(facts.baseline),
        "control": _figures(facts.control),
        "difference_interval": [verdict.low, verdict.high] if verdict else None,
        "verdict": verdict.verdict if verdict else None,
        "corrected_now_right": facts.corrected_now_right,
        "feedback": {"received": facts.num_feedback, "fates": dict(facts.fates)},
        "stages": dict(facts.stages),
        "urls": dict(facts.urls),
    }


def _figures(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {"version": score.version, "accuracy": score.accuracy, "top3": score.top3}


def collect(settings: Settings, *, table: str, run_id: str | None = None) -> Facts:
    """Read the stores.

    Args:
        run_id: whose stages are shown (the `run_id` they were recorded under in the ledger's costs); default: the
            newest of each.

    Raises:
        ServiceDown, RegistryUnavailable: the registry is not there to be asked.
        LedgerError, DataStoreError: the other stores.
    """
    urls = _urls(settings)
    registry = Registry(addresses(settings).mlflow)
    name = model_name(table)
    infos = {info.ref.version: info for info in registry.versions(name)}
    with Ledger(settings) as ledger:
        return _collect(settings, registry, ledger, table=table, infos=infos, run_id=run_id, urls=urls)


def _collect(
    settings: Settings,
    registry: Registry,
    ledger: LedgerQueries,
    *,
    table: str,
    infos: Mapping[int, VersionInfo],
    run_id: str | None,
    urls: Mapping[str, str],
) -> Facts:
    name = model_name(table)
    controls = [version for version, info in infos.items() if info.role == "control"]
    verdicts = ledger.verdicts(name)
    verdict = retraining_verdict(verdicts, controls)
    now = next((version for version, info in infos.items() if "champion" in info.aliases), None)
    before = verdict.against_version if verdict else now
    task = next((info.task for info in infos.values()), "")
    about = get_task(task) if task else None
    after = _score(registry, infos.get(now)) if now is not None else None
    fates = ledger.current_fates(table)
    challenger = verdict.model_version if verdict else None
    effects = ledger.effects(table, model_version=challenger) if challenger else []
    return Facts(
        table=table,
        task=task,
        metric=about.metric_name if about else "score",
        champion_before=_score(registry, infos.get(before)) if before is not None else None,
        champion_after=after,
        baseline=_baseline(registry, infos, before, about.baseline_name if about else "baseline"),
        control=_score(registry, infos.get(max(controls))) if controls else None,
        verdict=verdict,
        verdicts=tuple(verdicts),
        cost=_cost(ledger, verdict) if verdict else None,
        chance=1 / after.rows["target"].nunique() if after and after.top3 is not None else None,
        num_feedback=sum(fates.values()),
        kinds=ledger.num_feedback(table),
        fates={str(fate): count for fate, count in fates.items()},
        refusals=ledger.refusals(table),
        cuts=tuple(ledger.cuts(table)),
        num_answers={version: count for (_, version), count in sorted(ledger.num_answers(table).items())},
        corrected_now_right=ledger.corrected_now_right(table, model_version=challenger) if challenger else None,
        effects=tuple(_now_right(effects)),
        data=tuple(versioning.versions(settings)),
        others=tuple(_newest(registry, other) for other in registry.names() if other != name and _is_ours(other)),
        curves=tuple(_curves(registry)),
        journal=tuple(ledger.journal()),
        stages=stage_seconds(ledger.costs(run_id)),
        urls=urls,
    )


def retraining_verdict(verdicts: Sequence[VerdictRow], controls: Sequence[int]) -> VerdictRow | None:
    """The newest verdict on a challenger against a champion; a control is compared too, but never promoted."""
    judged = [row for row in verdicts if row.against == "champion" and row.model_version not in controls]
    return judged[-1] if judged else None


def _cost(ledger: LedgerQueries, verdict: VerdictRow) -> CostPair | None:
    wanted = (verdict.model_version, verdict.against, verdict.against_version)
    for look in reversed(ledger.looks(verdict.model_name)):
        if (look.model_version, look.against, look.against_version) == wanted and look.evidence.get("cost"):
            return CostPair.model_validate(look.evidence["cost"])
    return None


def stage_seconds(costs: Sequence[Cost]) -> dict[str, float]:
    """Stage → seconds, in order of time; the newest where several runs recorded one.

    A stage that runs did for several models or tables is named with each.
    """
    newest = {(cost.stage, cost.subject_name): cost for cost in costs}
    times = Counter(stage for stage, _ in newest)
    ordered = sorted(newest.values(), key=lambda cost: cost.at)
    return {
        cost.stage if times[cost.stage] == 1 else f"{cost.stage} {cost.subject_name.removeprefix(PREFIX)}": cost.seconds
        for cost in ordered
    }


def _score(registry: Registry, info: VersionInfo | None) -> Score | None:
    if info is None:
        return None
    rows = registry.per_example(info.ref)
    return _of_rows(info.ref.version, rows)


def _baseline(registry: Registry, infos: Mapping[int, VersionInfo], before: int | None, method: str) -> Score | None:
    """The plain baseline as it was fitted beside the champion before, on the same training rows."""
    info = infos.get(before) if before is not None else None
    info = info or (infos[max(infos)] if infos else None)
    if info is None:
        return None
    try:
        rows = registry.baseline(info.ref)
    except RegistryError:  # none was kept with this version
        return None
    return _of_rows(method, rows)


def _of_rows(version: int | str, rows: "pd.DataFrame") -> Score:
    top3 = float(rows["top3"].mean()) if "top3" in rows else None
    return Score(version, float(rows["score"].mean()), top3, rows)


def _now_right(effects: Sequence[tuple[Feedback, Fate]]) -> list[tuple[Feedback, Fate]]:
    """A few whose answer was wrong and is right, from different labels where there are such."""
    seen: Counter[str] = Counter()
    chosen = []
    for row, fate in effects:
        label = row.correction or ""
        if fate.effect and fate.effect["score_before"] < 1 <= fate.effect["score_after"] and not seen[label]:
            seen[label] += 1
            chosen.append((row, fate))
    return chosen[:NUM_EXAMPLES]


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX)


def _newest(registry: Registry, name: str) -> VersionInfo:
    found = registry.versions(name)
    return next((info for info in found if "champion" in info.aliases), found[0])


def _curves(registry: Registry) -> list[Curve]:
    """How the newest pretraining came down: bits a byte of text that it was not trained on."""
    for run in registry.runs(limit=100):
        if "bits_per_byte" in run.metrics:
            points = registry.history(run.run_id, "bits_per_byte")
            return [Curve(run.name, "bits_per_byte", tuple(points))] if len(points) > 1 else []
    return []


def _urls(settings: Settings) -> dict[str, str]:
    try:
        return dict(addresses(settings).known)
    except ServiceDown:
        return {}
