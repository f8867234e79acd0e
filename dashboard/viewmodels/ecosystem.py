"""The ecosystem page: the loop with its live state, the numbers beneath it, and the applications."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from components.ecosystem import APPLICATIONS, STAGES, Observation, State, stage_of, state_of
from components.ledger.schema import VerdictRow
from dashboard.records import (
    CostState,
    DataState,
    DataVersion,
    LedgerState,
    ModelVersion,
    Orchestration,
    Reading,
    Run,
    Seat,
)
from dashboard.text import Words
from dashboard.viewmodels.cost import energy, money, since
from dashboard.viewmodels.shapes import (
    Tile,
    bare_difference,
    champion_of,
    difference,
    last_verdict,
    metric_of,
    score,
    short,
    step_name,
    taken_back,
)

ENDED_BADLY = {"FAILED", "CRASHED"}


@dataclass(frozen=True)
class Readings:
    """What the page asks for."""

    models: Reading[tuple[ModelVersion, ...]]
    data: Reading[DataState]
    orchestration: Reading[Orchestration]
    ledger: Reading[LedgerState]
    seats: Reading[tuple[Seat, ...]]
    costs: Reading[CostState] | None = None

    def each(self) -> tuple[Reading[Any], ...]:
        return (self.data, self.orchestration, self.models, self.seats, self.ledger)


@dataclass(frozen=True)
class LoopNode:
    stage: str
    page: str
    href: str
    """The page's address, for a new tab; it keeps the language."""
    title: str
    meaning: str
    line: str
    state: State
    state_text: str


@dataclass(frozen=True)
class Heart:
    """What stands in the middle: the one number that the loop is about, and how far the tree has grown."""

    growth: int
    label: str
    value: str
    note: str
    gain: str = ""
    is_words: bool = False
    is_loss: bool = False
    """`gain` is none."""


@dataclass(frozen=True)
class LoopView:
    label: str
    nodes: tuple[LoopNode, ...]
    heart: Heart
    is_moving: bool


@dataclass(frozen=True)
class ApplicationCard:
    title: str
    text: str
    state: State
    is_alive: bool


@dataclass(frozen=True)
class EcosystemView:
    loop: LoopView
    tiles: tuple[Tile, ...]
    applications: tuple[ApplicationCard, ...]


def ecosystem(readings: Readings, words: Words) -> EcosystemView:
    """The page as the stores have it."""
    nodes = tuple(_nodes(readings, words))
    moving = any(node.state == "working" for node in nodes)
    loop = LoopView(words("ecosystem.loop"), nodes, heart(readings, words), moving)
    return EcosystemView(loop, tuple(_tiles(readings, words)), tuple(_applications(readings, words)))


# ---------------------------------------------------------------- the stations


def _nodes(readings: Readings, words: Words) -> list[LoopNode]:
    seen = _observations(readings)
    at_work = working_stages(readings.orchestration.value)
    lines = _lines(readings, words)
    nodes = []
    for stage in STAGES:
        state = state_of(seen[stage.name])
        line = lines[stage.name]
        if seen[stage.name].count is None:
            line = words("line.unknown")
        elif state == "working":
            line = words("line.step", step=step_name(words, at_work[stage.name]))
        elif state == "failed":
            line = words("line.failed")
        elif state == "empty":
            line = words("line.deployment.none") if stage.name == "deployment" else words("line.nothing")
        nodes.append(
            LoopNode(
                stage=stage.name,
                page=stage.page,
                href=f"{stage.page}?lang={words.language}",
                title=words(f"stage.{stage.name}"),
                meaning=words(f"stage.{stage.name}.meaning"),
                line=line,
                state=state,
                state_text=words(f"state.{state}"),
            )
        )
    return nodes


def _observations(readings: Readings) -> Mapping[str, Observation]:
    at_work, failed = working_stages(readings.orchestration.value), failed_stages(readings.orchestration.value)
    head = _head(readings.data.value)
    models, seats, ledger = readings.models.value, readings.seats.value, readings.ledger.value

    def seen(stage: str, count: int | None, reading: Reading[Any], *, is_waiting: bool = False) -> Observation:
        return Observation(count, reading.problem is None, stage in at_work, stage in failed, is_waiting)

    data, registry, gateway, kept = readings.data, readings.models, readings.seats, readings.ledger
    verdict = ledger.verdicts[-1] if ledger and ledger.verdicts else None
    return {
        "data": seen("data", _or_none(data, head.num_rows if head else 0), data),
        "preprocessing": seen("preprocessing", _or_none(data, 1 if head else 0), data),
        "training": seen("training", _or_none(registry, len(models or ())), registry),
        "optimisation": seen(
            "optimisation",
            _or_none(kept, len(ledger.verdicts) if ledger else 0),
            kept,
            is_waiting=verdict is not None and verdict.verdict == "inconclusive",
        ),
        "deployment": seen(
            "deployment",
            _or_none(gateway, len(seats or ())),
            gateway,
            is_waiting=any(seat.state != "ready" for seat in seats or ()),
        ),
        "application": seen(
            "application",
            _or_none(kept, sum(table.num_answers for table in ledger.tables) if ledger else 0),
            kept,
        ),
        "feedback": seen(
            "feedback",
            _or_none(kept, sum(table.num_feedback for table in ledger.tables) if ledger else 0),
            kept,
            is_waiting=any(table.num_pending for table in ledger.tables) if ledger else False,
        ),
    }


def _or_none(reading: Reading[Any], count: int) -> int | None:
    return None if reading.value is None else count


def _lines(readings: Readings, words: Words) -> Mapping[str, str]:
    """What each station says when it is neither empty, failed nor at work."""
    head = _head(readings.data.value)
    models, seats, ledger = readings.models.value or (), readings.seats.value or (), readings.ledger.value
    tables = ledger.tables if ledger else ()
    verdict = ledger.verdicts[-1] if ledger and ledger.verdicts else None
    word = f"line.verdict.{verdict.verdict}" if verdict else ""
    if ledger and verdict and (verdict.model_name, verdict.model_version) in taken_back(ledger.journal):
        word = "line.verdict.taken"
    dropped = sum(sum(reasons.values()) for reasons in head.rejects.values()) if head else 0
    serving = sum(seat.version is not None for seat in seats)
    return {
        "data": words(
            "line.data",
            rows=words.counted("row", head.num_rows if head else 0),
            tables=words.counted("table", len(head.rows) if head else 0),
        ),
        "preprocessing": words(
            "line.preprocessing" if dropped else "line.preprocessing.none", rejected=words.number(dropped)
        ),
        "training": words("line.training.one" if len(models) == 1 else "line.training", count=len(models)),
        "optimisation": words(word, model=_named(verdict)) if verdict else "",
        "deployment": words("line.deployment.one" if serving == 1 else "line.deployment", count=serving),
        "application": words("line.application", count=words.number(sum(table.num_answers for table in tables))),
        "feedback": words(
            "line.feedback",
            count=words.number(sum(table.num_feedback for table in tables)),
            pending=words.number(sum(table.num_pending for table in tables)),
        ),
    }


def _named(verdict: VerdictRow) -> str:
    return f"{verdict.model_name.removeprefix('banyan-')} v{verdict.model_version}"


def _head(data: DataState | None) -> DataVersion | None:
    return next((version for version in data.versions if version.is_head), None) if data else None


def working_stages(found: Orchestration | None) -> Mapping[str, str]:
    """Stage → the step or flow that is at it now. A step tells more than the flow that it belongs to; the loop's step

    that stands for another run (`ingest`) says nothing that this run does not say itself.
    """
    stages: dict[str, str] = {}
    running = [run for run in found.runs if run.state == "RUNNING"] if found else []
    flows = {run.flow for run in running}
    for run in running:
        if found:
            step = found.running_steps.get(run.id, "")
            if step.split(" ")[0] in flows - {run.flow}:
                continue
            for name in (step, run.flow):
                stage = stage_of(name) if name else None
                if stage:
                    stages.setdefault(stage, name)
                    break
    return stages


def failed_stages(found: Orchestration | None) -> set[str]:
    """Stages whose newest finished run failed."""
    seen: set[str] = set()
    failed: set[str] = set()
    for run in found.runs if found else ():  # newest first
        stage = stage_of(run.flow)
        if stage and stage not in seen and _is_over(run):
            seen.add(stage)
            if run.state in ENDED_BADLY:
                failed.add(stage)
    return failed


def _is_over(run: Run) -> bool:
    return run.state in {"COMPLETED", "CANCELLED", *ENDED_BADLY}


# ---------------------------------------------------------------- the middle


def heart(readings: Readings, words: Words) -> Heart:
    """The champion of the application that is used most, and what it gained when it took over."""
    models = readings.models.value
    if models is None:
        return Heart(0, words("heart.empty.label"), words("heart.unknown.value"), words("heart.unknown.note"), "", True)
    if not models:
        at_work = working_stages(readings.orchestration.value)
        note = "heart.growing.note" if at_work else "heart.empty.note"
        return Heart(0, words("heart.empty.label"), words("heart.empty.value"), words(note), "", True)
    ledger = readings.ledger.value
    champion = headline(models, ledger)
    if champion is None:
        return Heart(1, words("heart.empty.label"), words("heart.sprout.value"), words("heart.sprout.note"), "", True)
    metric = metric_of(champion)
    verdict = last_verdict(ledger.verdicts if ledger else (), champion.name, champion.version)
    moves = ledger.journal if ledger else ()
    generations = len({move.to_version for move in moves if move.name == champion.name and move.state == "done"})
    label = words(
        "heart.label",
        table=champion.table,
        version=words("version", version=champion.version),
        metric=words.named("metric", metric),
    )
    gain, note = "", words("heart.plain")
    if verdict is not None:
        note = words(
            "heart.interval.level",
            level=words.percent(float(verdict.policy.get("confidence_level", 0.95)), decimals=0),
            low=bare_difference(metric, verdict.low),
            high=difference(words, metric, verdict.high),
            count=words.number(verdict.num_examples),
        )
        key = "heart.gain.baseline" if verdict.against == "baseline" else "heart.gain"
        gain = words(key, difference=difference(words, metric, verdict.difference), version=verdict.against_version)
    value = score(words, metric, champion.metrics[metric]) if metric else words("tile.unknown")
    is_loss = verdict is not None and verdict.difference < 0  # promoted by a gate that asked for no more
    return Heart(1 + max(1, generations), label, value, note, gain, is_loss=is_loss)


def headline(models: Sequence[ModelVersion], ledger: LedgerState | None) -> ModelVersion | None:
    """The champion that has answered most; ties by name."""
    asked = {table.table: table.num_answers for table in ledger.tables} if ledger else {}
    champions = [model for model in models if model.is_champion]
    return min(champions, key=lambda model: (-asked.get(model.table, 0), model.name), default=None)


# ---------------------------------------------------------------- beneath


def _tiles(readings: Readings, words: Words) -> list[Tile]:
    head = _head(readings.data.value)
    models, ledger, seats = readings.models.value, readings.ledger.value, readings.seats.value
    unknown, nothing = words("tile.unknown"), words("tile.nothing")
    tables = ledger.tables if ledger else ()
    feedback = sum(table.num_feedback for table in tables)
    pending = sum(table.num_pending for table in tables)
    right = _corrected(readings, words)
    serving = sum(seat.version is not None for seat in seats) if seats is not None else None
    return [
        _improvement(ledger, words),
        Tile(
            words("tile.alive"),
            str(serving) if serving is not None else unknown,
            words("tile.alive.note", count=len(models)) if models is not None else "",
        ),
        Tile(
            words("tile.waiting"),
            words.number(pending) if ledger else unknown,
            words("tile.waiting.note", count=words.number(feedback)),
        ),
        _month(readings.costs, words),
        Tile(
            words("tile.answers"),
            words.number(sum(table.num_answers for table in tables)) if ledger else unknown,
            words("tile.answers.note"),
        ),
        Tile(
            words("tile.rows"),
            words.number(head.num_rows) if head else unknown,
            words("tile.rows.note", version=short(head.version)) if head else nothing,
        ),
        Tile(words("tile.right"), right or unknown, words("tile.right.note") if right else nothing),
    ]


def _improvement(ledger: LedgerState | None, words: Words) -> Tile:
    """How long ago a better model took over; rolling back is none, nor is what was taken back."""
    journal = ledger.journal if ledger else ()
    left = taken_back(journal)
    moves = [
        move
        for move in journal
        if (move.action, move.alias, move.state) == ("promote", "champion", "done")
        and (move.name, move.to_version) not in left
    ]
    if not moves:
        return Tile(words("tile.since"), words("tile.unknown"), words("tile.nothing"))
    last = max(moves, key=lambda move: move.at)
    name = f"{last.name.removeprefix('banyan-')} v{last.to_version}"
    return Tile(words("tile.since"), words.ago(time.time() - last.at), words("tile.since.note", model=name))


def _month(costs: Reading[CostState] | None, words: Words) -> Tile:
    """What was spent on trainings since the month began."""
    if costs is None or costs.value is None:
        return Tile(words("cost.month"), words("tile.unknown"), "")
    first = datetime.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    sums = since(costs.value, first)
    note = f"{words.duration(sums.seconds)} · {energy(words, sums.joules)}"
    return Tile(words("cost.month"), money(words, sums.money, costs.value.currency), note)


def _corrected(readings: Readings, words: Words) -> str:
    ledger = readings.ledger.value
    shares = [t.corrected_now_right for t in ledger.tables if t.corrected_now_right is not None] if ledger else []
    return words.percent(shares[0], decimals=0) if shares else ""


def _applications(readings: Readings, words: Words) -> list[ApplicationCard]:
    models = readings.models.value or ()
    seats = {seat.table: seat for seat in readings.seats.value or () if seat.version is not None}
    cards = []
    for application in APPLICATIONS:
        names = sorted({model.name for model in models if model.task in application.tasks})
        alive = [name for name in names if name.removeprefix("banyan-") in seats]
        if alive:
            shown = [f"{name.removeprefix('banyan-')} v{_version(models, seats, name)}" for name in alive]
            text, state = words("ecosystem.application.alive", models=", ".join(shown)), "ready"
        elif names:
            shown = [name.removeprefix("banyan-") for name in names]
            text, state = words("ecosystem.application.trained", models=", ".join(shown)), "waiting"
        else:
            text, state = words("ecosystem.application.none"), "empty"
        cards.append(
            ApplicationCard(
                words(f"application.{application.name}"),
                text,
                state,  # type: ignore[arg-type]
                bool(names),
            )
        )
    return sorted(cards, key=lambda card: not card.is_alive)


def _version(models: Sequence[ModelVersion], seats: Mapping[str, Seat], name: str) -> int | None:
    champion = champion_of(models, name)
    return seats[name.removeprefix("banyan-")].version or (champion.version if champion else None)
