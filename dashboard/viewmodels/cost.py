"""The cost page: compute, energy and money, by model and by training, beside what was planned and what it brought."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from components.ledger.schema import Cost, VerdictRow
from components.training import hardware
from dashboard.records import CostState, LedgerState, ModelVersion, Planned
from dashboard.text import Words, signed
from dashboard.viewmodels.shapes import Bar, Tile, taken_back

TRAINING = "train"
NUM_ROWS = 20


@dataclass
class Spent:
    """Sums over trainings."""

    num_trainings: int = 0
    seconds: float = 0.0
    joules: float = 0.0
    measured_joules: float = 0.0
    money: float = 0.0


@dataclass(frozen=True)
class CostView:
    tiles: tuple[Tile, ...]
    models: tuple[tuple[str, ...], ...]
    runs: tuple[tuple[str, ...], ...]
    num_more: int
    """Trainings that the table leaves out."""
    stages: tuple[Bar, ...]
    plans: tuple[tuple[str, ...], ...]
    energy_note: str
    money_note: str
    is_empty: bool
    sums: Spent = field(repr=False, default_factory=Spent)


def joules_of(cost: Cost) -> tuple[float, bool]:
    """Energy of a training and whether it was measured; an estimate from time where nothing was written down."""
    if cost.energy_joules is not None:
        return cost.energy_joules, not (cost.energy_source or "").startswith("estimate")
    gb = (cost.peak_memory_bytes or 0) / 1e9
    watts = hardware.watts(device=cost.device, num_threads=hardware.num_cores(), memory_gb=gb)
    return watts * cost.seconds, False


def money_of(cost: Cost, state: CostState) -> float:
    return joules_of(cost)[0] / 3.6e6 * state.price_a_kwh + cost.seconds / 3600 * state.price_an_hour


def spent(costs: Sequence[Cost], state: CostState) -> Spent:
    """What these trainings come to."""
    sums = Spent()
    for cost in costs:
        joules, is_measured = joules_of(cost)
        sums.num_trainings += 1
        sums.seconds += cost.seconds
        sums.joules += joules
        sums.measured_joules += joules * is_measured
        sums.money += money_of(cost, state)
    return sums


def since(state: CostState, at: float) -> Spent:
    """What was spent on trainings after a moment."""
    return spent([cost for cost in state.costs if cost.stage == TRAINING and cost.at >= at], state)


def accepted_points(verdicts: Sequence[VerdictRow], name: str = "") -> float:
    """Hundredths of the task's score that promotions brought, by the gate's differences; a version counts once."""
    found = {}
    for row in verdicts:
        if row.verdict == "promote" and name in ("", row.model_name):
            found[row.model_name, row.model_version] = row.difference * 100
    return sum(found.values())


def cost_view(state: CostState, models: Sequence[ModelVersion], ledger: LedgerState | None, words: Words) -> CostView:
    """The page."""
    trainings = [cost for cost in state.costs if cost.stage == TRAINING]
    left = taken_back(ledger.journal) if ledger else []
    verdicts = [row for row in (ledger.verdicts if ledger else ()) if (row.model_name, row.model_version) not in left]
    sums = spent(trainings, state)
    controls = {model.run_id for model in models if model.role == "control"}
    by_run = {model.run_id: model for model in models}
    names = sorted({cost.subject_name for cost in trainings})
    return CostView(
        tiles=tuple(_tiles(sums, state, verdicts, words)),
        models=tuple(
            _model_row(name, [c for c in trainings if c.subject_name == name], state, verdicts, words) for name in names
        ),
        runs=tuple(_run_row(cost, by_run, controls, state, words) for cost in reversed(trainings[-NUM_ROWS:])),
        num_more=max(0, len(trainings) - NUM_ROWS),
        stages=tuple(_stages(state.costs, words)),
        plans=tuple(_plan_row(plan, words) for plan in state.plans if plan.actual_seconds is not None),
        energy_note=_energy_note(trainings, sums, words),
        money_note=words(
            "cost.money.note",
            kwh=money(words, state.price_a_kwh, state.currency),
            hour=money(words, state.price_an_hour, state.currency),
        ),
        is_empty=not trainings,
        sums=sums,
    )


def money(words: Words, amount: float, currency: str) -> str:
    """To two figures at least: a training on a laptop costs hundredths of a cent."""
    if amount and abs(amount) < 0.1:
        text = f"{amount:.{1 - math.floor(math.log10(abs(amount)))}f}"
    else:
        text = words.number(amount, decimals=2)
    return f"{text} {currency}".strip()


def energy(words: Words, joules: float) -> str:
    wh = joules / 3600
    return words("cost.kwh", value=f"{wh / 1000:.2f}") if wh >= 1000 else words("cost.wh", value=f"{wh:.3g}")


def _tiles(sums: Spent, state: CostState, verdicts: Sequence[VerdictRow], words: Words) -> list[Tile]:
    points = accepted_points(verdicts)
    per_point = money(words, sums.money / points, state.currency) if points > 0 else words("tile.unknown")
    share = sums.measured_joules / sums.joules if sums.joules else 0.0
    settled = [plan.actual_seconds / plan.seconds for plan in state.plans if plan.actual_seconds and plan.seconds]
    return [
        Tile(words("cost.compute"), words.duration(sums.seconds), words("cost.trainings", count=sums.num_trainings)),
        Tile(
            words("cost.energy"),
            energy(words, sums.joules),
            words("cost.measured", share=words.percent(share, decimals=0)) if share else words("cost.estimated"),
        ),
        Tile(words("cost.money"), money(words, sums.money, state.currency), words("cost.money.what")),
        Tile(
            words("cost.point"),
            per_point,
            words("cost.point.note", points=f"{points:.1f}")
            if points > 0
            else words("cost.point.less" if any(row.verdict == "promote" for row in verdicts) else "cost.point.none"),
        ),
        Tile(
            words("cost.planned"),
            f"× {statistics.median(settled):.2f}" if settled else words("tile.unknown"),
            words("cost.planned.note", count=len(settled)) if settled else words("cost.planned.none"),
        ),
    ]


def _model_row(
    name: str, costs: Sequence[Cost], state: CostState, verdicts: Sequence[VerdictRow], words: Words
) -> tuple[str, ...]:
    sums, points = spent(costs, state), accepted_points(verdicts, name)
    return (
        name.removeprefix("banyan-"),
        words.number(sums.num_trainings),
        words.duration(sums.seconds),
        energy(words, sums.joules),
        money(words, sums.money, state.currency),
        (f"{points:.1f}" if points > 0 else signed(points)) if points else words("tile.unknown"),
        money(words, sums.money / points, state.currency) if points > 0 else words("tile.unknown"),
    )


def _run_row(
    cost: Cost, by_run: dict[str, ModelVersion], controls: set[str], state: CostState, words: Words
) -> tuple[str, ...]:
    model = by_run.get(cost.run_id)
    name = f"{model.table} v{model.version}" if model else cost.subject_name.removeprefix("banyan-")
    if cost.run_id in controls:
        name += f" ({words('models.role.control')})"
    joules, is_measured = joules_of(cost)
    memory = words("cost.gb", value=f"{cost.peak_memory_bytes / 1e9:.1f}") if cost.peak_memory_bytes else "—"
    source = (cost.energy_source or "").split(":")[0] if is_measured else words("cost.estimate")
    return (
        name,
        words.moment(cost.at),
        words.duration(cost.seconds),
        memory,
        energy(words, joules),
        source,
        money(words, money_of(cost, state), state.currency),
    )


def _stages(costs: Sequence[Cost], words: Words) -> list[Bar]:
    """Where a turn of the loop spends its time: the newest run that was recorded stage by stage."""
    newest = next((cost.run_id for cost in reversed(costs) if cost.stage != TRAINING), None)
    mine = [cost for cost in costs if cost.run_id == newest and cost.stage != TRAINING]
    most = max((cost.seconds for cost in mine), default=1.0) or 1.0
    return [Bar(_stage(cost.stage, words), cost.seconds / most, words.duration(cost.seconds), "blue") for cost in mine]


def _stage(stage: str, words: Words) -> str:
    flow, _, rest = stage.partition(" ")
    return f"{words.named('flow', flow)} {rest}".strip()


def _plan_row(plan: Planned, words: Words) -> tuple[str, ...]:
    actual = plan.actual_seconds or 0.0
    ratio = actual / plan.seconds if plan.seconds else 0.0
    times = words.duration(plan.seconds), words.duration(actual)
    return plan.name, *times, f"× {ratio:.2f}", energy(words, plan.kwh * 3.6e6)


def _energy_note(trainings: Sequence[Cost], sums: Spent, words: Words) -> str:
    sources = sorted({cost.energy_source for cost in trainings if cost.energy_source})
    if sums.measured_joules:
        return words("cost.energy.measured", sources="; ".join(sources))
    return words("cost.energy.estimated", watts=f"{hardware.WATTS_A_CPU_CORE:.0f}")
