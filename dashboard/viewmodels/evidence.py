"""What the gate kept of one comparison, ready to be drawn: slices, calibration, the stream, seeds, typing errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from components.ecosystem import State
from components.ledger.schema import LookRow, VerdictRow
from dashboard.records import ModelVersion
from dashboard.text import Words
from dashboard.viewmodels.cost import energy, money
from dashboard.viewmodels.models import VERDICT_STATE, Interval, VerdictView, verdict_view
from dashboard.viewmodels.shapes import LOWER_IS_BETTER, SHARES, Bar, bare_difference, difference, score

TIMED = "seconds_per_example"
STATE_OF_FINDING: Mapping[str, State] = {"not worse": "ready", "worse": "failed", "unknown": "waiting"}


@dataclass(frozen=True)
class ForestRow:
    """A difference on an axis shared with others, as shares of the drawn width; `low` is None where it has no ends."""

    label: str
    note: str
    point: float
    low: float | None
    high: float | None
    value: str
    state: State
    state_text: str


@dataclass(frozen=True)
class Forest:
    rows: tuple[ForestRow, ...]
    zero: float
    margin: float | None
    """Where a loss begins that the policy does not bear."""
    margin_text: str


@dataclass(frozen=True)
class Side:
    """One measure of both models. `gain`: whether the challenger is better; None where they are equal."""

    label: str
    challenger: str
    against: str
    difference: str
    gain: bool | None


@dataclass(frozen=True)
class StreamLook:
    """One comparison on a test set."""

    number: int
    label: str
    verdict: str
    state: State
    difference: float
    low: float
    high: float
    level: float
    """One-sided error that it might spend."""


@dataclass(frozen=True)
class Stream:
    looks: tuple[StreamLook, ...]
    budget: str
    share: float
    """Of the looks that there may be."""
    spent: str


@dataclass(frozen=True)
class EvidenceView:
    verdict: VerdictView
    decided: str
    reason: str
    sides: tuple[Side, ...]
    challenger: str
    against: str
    slices: Forest | None
    slices_note: str
    calibration: tuple[Side, ...]
    brier: Interval | None
    stream: Stream | None
    seeds: Interval | None
    seeds_note: str
    probe: tuple[Bar, ...]
    speed: tuple[Bar, ...]
    probe_note: str


def choices(verdicts: Sequence[VerdictRow], name: str, words: Words) -> dict[str, VerdictRow]:
    """What can be looked at, newest first: how it is called → the comparison."""
    found = {}
    for row in reversed([row for row in verdicts if row.model_name == name]):
        what = words(f"models.verdict.{row.verdict}", version=row.model_version)
        found[f"{what} · {_against(row, words)}"] = row
    return found


def _against(row: VerdictRow, words: Words) -> str:
    return words(f"models.verdict.against.{row.against}", version=row.against_version)


def evidence_view(
    row: VerdictRow, looks: Sequence[LookRow], models: Sequence[ModelVersion], words: Words
) -> EvidenceView:
    """The page's part for one comparison; `looks` are those of its model, oldest first."""
    look = look_of(row, looks)
    kept: Mapping[str, Any] = look.evidence if look else {}
    by_version = {model.version: model for model in models if model.name == row.model_name}
    one, other = by_version.get(row.model_version), by_version.get(row.against_version)
    return EvidenceView(
        verdict=verdict_view(row, words),
        decided=_decided(row, kept, words),
        reason=str(kept.get("reason") or ""),
        sides=tuple(_sides(one, other if row.against == "champion" else None, kept, row, words)),
        challenger=words("version", version=row.model_version),
        against=words("version", version=row.against_version)
        if row.against == "champion"
        else words("models.bar.baseline"),
        slices=forest(kept.get("slices") or (), row, words),
        slices_note=_slices_note(kept, row, words),
        calibration=tuple(_calibration(kept.get("calibration"), words)),
        brier=_brier(kept.get("calibration")),
        stream=stream(look, looks, row, words) if look else None,
        seeds=_seeds(kept.get("seeds"), row.metric),
        seeds_note=_seeds_note(kept.get("seeds"), row, words),
        probe=tuple(_probe(kept.get("probe"), row, words)),
        speed=tuple(_speed(kept.get("cost") or kept.get("probe"), row, words)),
        probe_note=_probe_note(kept.get("probe"), words),
    )


def look_of(row: VerdictRow, looks: Sequence[LookRow]) -> LookRow | None:
    """The look that a verdict was; none for a control, which spends nothing."""
    wanted = (row.model_version, row.against, row.against_version)
    return next((one for one in looks if (one.model_version, one.against, one.against_version) == wanted), None)


def _decided(row: VerdictRow, kept: Mapping[str, Any], words: Words) -> str:
    parts = []
    if "num_wins" in kept:
        wins, losses = words.number(kept["num_wins"]), words.number(kept["num_losses"])
        parts.append(words("gate.wins", wins=wins, losses=losses))
    if row.p_value is not None:
        parts.append(words("gate.p", p="< 0.001" if row.p_value < 0.001 else f"= {row.p_value:.3f}"))
    return " · ".join(parts)


# ---------------------------------------------------------------- side by side


def _sides(
    one: ModelVersion | None, other: ModelVersion | None, kept: Mapping[str, Any], row: VerdictRow, words: Words
) -> list[Side]:
    """Every measure that both have; against the plain baseline, what was logged of it beside the version."""
    if one is None:
        return []
    theirs: Mapping[str, float] = {}
    if other is not None:
        theirs = other.metrics
    elif row.against == "baseline":
        theirs = {k.removeprefix("baseline_"): v for k, v in one.metrics.items() if k.startswith("baseline_")}
    known = [name for name in one.metrics if name in theirs and words.has(f"metric.{name}") and name != "chance"]
    known.sort(key=lambda name: (name != row.metric, name))
    sides = [_side(words(f"metric.{name}"), name, one.metrics[name], theirs[name], words) for name in known]
    probe = kept.get("probe") or {}
    mine, its = probe.get("challenger"), probe.get("champion")
    cost = kept.get("cost") or {}
    if mine and its and not cost:  # of before the gate kept costs
        cost = {"challenger": {TIMED: mine[TIMED]}, "champion": {TIMED: its[TIMED]}}
    return sides + _on_feedback(kept.get("feedback"), row, words) + _costs(cost, words)


def _on_feedback(found: Mapping[str, Any] | None, row: VerdictRow, words: Words) -> list[Side]:
    """Both on what people said whom no training sees; it decided nothing."""
    if not found:
        return []
    label = words("gate.feedback", rows=words.counted("row", int(found["num_examples"])))
    mine, theirs = found["challenger"], found.get("champion")
    if theirs is None:
        return [Side(label, score(words, row.metric, mine), "–", "", None)]
    side = _side(label, row.metric, mine, theirs, words)
    low, high = found.get("interval") or (None, None)
    if low is None or high is None:
        return [replace(side, gain=None)]  # too few to call one better
    ends = words("gate.feedback.ends", low=bare_difference(row.metric, low), high=bare_difference(row.metric, high))
    return [replace(side, difference=f"{side.difference} {ends}", gain=None if low <= 0 <= high else side.gain)]


def _costs(cost: Mapping[str, Any], words: Words) -> list[Side]:
    """What each model takes to answer, took to train and takes to keep; less is better."""
    mine, its = cost.get("challenger") or {}, cost.get("champion") or {}
    currency = str(cost.get("currency") or "")
    shown: Mapping[str, Callable[[float], str]] = {
        "gate.cost.seconds_per_example": lambda value: words("unit.milliseconds", value=f"{1000 * value:.1f}"),
        "gate.cost.cpu_seconds": words.duration,
        "gate.cost.energy_joules": lambda value: energy(words, value),
        "gate.cost.money": lambda value: money(words, value, currency),
        "gate.cost.weight_bytes": lambda value: words("unit.megabytes", value=f"{value / 1e6:.1f}"),
    }
    sides = []
    for key, say in shown.items():
        name = key.rpartition(".")[2]
        one, other = mine.get(name), its.get(name)
        if one is None:
            continue
        if other is None:
            sides.append(Side(words(key), say(one), "–", "", None))
        else:
            ratio = f"× {one / other:.2f}" if other else ""
            sides.append(Side(words(key), say(one), say(other), ratio, None if say(one) == say(other) else one < other))
    return sides


def _side(label: str, metric: str, mine: float, theirs: float, words: Words) -> Side:
    is_lower = metric in LOWER_IS_BETTER or metric.endswith("error")
    gain = None if mine == theirs else (mine < theirs) == is_lower
    shown = score(words, metric, mine), score(words, metric, theirs), difference(words, metric, mine - theirs)
    if shown[0] == shown[1]:
        gain = None
    return Side(label, *shown, gain)


def _calibration(found: Mapping[str, Any] | None, words: Words) -> list[Side]:
    if not found:
        return []
    return [_side(words("gate.calibration.error"), "accuracy_error", found["error"], found["champion_error"], words)]


def _brier(found: Mapping[str, Any] | None) -> Interval | None:
    """Of squared errors: what is left of zero is the challenger's."""
    if not found:
        return None
    low, high, mean = found["brier_low"], found["brier_high"], found["brier_difference"]
    state: State = "ready" if high < 0 else "failed" if low > 0 else "waiting"
    return _interval(low, mean, high, "brier", state)


def _interval(low: float, mean: float, high: float, metric: str, state: State) -> Interval:
    reach = max(abs(low), abs(high), 1e-9) * 1.6

    def place(value: float) -> float:
        return (value + reach) / (2 * reach)

    texts = bare_difference(metric, low), bare_difference(metric, high)
    return Interval(0.5, place(low), place(high), place(mean), *texts, state)


# ---------------------------------------------------------------- slices


def forest(found: Sequence[Mapping[str, Any]], row: VerdictRow, words: Words) -> Forest | None:
    """Every slice's difference with its interval, beside the margin of non-inferiority."""
    if not found:
        return None
    margin = float(row.policy.get("slice_margin", 0.05))
    level = float(row.policy.get("confidence_level", 0.95))
    ends = [slice_interval(one, margin=margin, level=level) for one in found]
    values = [-margin, 0.0, *(float(one["difference"]) for one in found), *(e for pair in ends if pair for e in pair)]
    least, most = min(values), max(values)
    room = (most - least) * 0.04 or 0.01
    least, most = least - room, most + room

    def place(value: float) -> float:
        return (value - least) / (most - least)

    rows = tuple(
        ForestRow(
            label=slice_name(str(one["name"]), words),
            note=words.counted("row", int(one["num_examples"])),
            point=place(float(one["difference"])),
            low=place(pair[0]) if pair else None,
            high=place(pair[1]) if pair else None,
            value=bare_difference(row.metric, float(one["difference"])),
            state=STATE_OF_FINDING[one["finding"]],
            state_text=words(f"gate.finding.{one['finding']}"),
        )
        for one, pair in zip(found, ends, strict=True)
    )
    return Forest(rows, place(0.0), place(-margin), bare_difference(row.metric, -margin))


def slice_interval(one: Mapping[str, Any], *, margin: float, level: float) -> tuple[float, float] | None:
    """The two-sided interval of a slice's mean, from the Wald test that `evaluation.slices` made and kept the p of.

    z = (mean + margin) / standard error, so the standard error follows; None where z is next to nothing and would have
    to divide.
    """
    p = min(max(float(one["p_not_worse"]), 1e-300), 1 - 1e-12)
    z = -NormalDist().inv_cdf(p)
    n = int(one["num_examples"])
    mean = float(one["difference"]) * n / (n + 2)  # with the pair that the test adds
    if abs(z) < 0.02 or (mean + margin) / z <= 0:
        return None
    half = NormalDist().inv_cdf((1 + level) / 2) * (mean + margin) / z
    return mean - half, mean + half


def slice_name(name: str, words: Words) -> str:
    kind, _, value = name.partition(": ")
    if kind == "length":
        value = words.named("gate.length", value)
    return words(f"gate.slice.{kind}", value=value) if words.has(f"gate.slice.{kind}") else name


def _slices_note(kept: Mapping[str, Any], row: VerdictRow, words: Words) -> str:
    found = kept.get("slices") or ()
    if not found:
        return words("gate.slices.none")
    counts = {f: sum(one["finding"] == f for one in found) for f in STATE_OF_FINDING}
    rule = words.named("gate.rule", str(row.policy.get("slices_rule", "report")))
    return words(
        "gate.slices.note",
        better=counts["not worse"],
        unknown=counts["unknown"],
        worse=counts["worse"],
        margin=bare_difference(row.metric, float(row.policy.get("slice_margin", 0.05))).lstrip("+"),
        rule=rule,
    )


# ---------------------------------------------------------------- the stream, seeds, typing errors


def stream(look: LookRow, looks: Sequence[LookRow], row: VerdictRow, words: Words) -> Stream:
    """Every comparison that this one's test set has decided so far, with the error that each might spend."""
    mine = [one for one in looks if one.test_set == look.test_set]
    shown = tuple(
        StreamLook(
            number=int((one.evidence.get("look") or {}).get("number", place)),
            label=words("gate.look", version=one.model_version, against=_of_look(one, words)),
            verdict=words(f"gate.verdict.{one.verdict}"),
            state=VERDICT_STATE[one.verdict],
            difference=float(one.evidence.get("difference", 0)),
            low=float(one.evidence.get("low", 0)),
            high=float(one.evidence.get("high", 0)),
            level=float((one.evidence.get("look") or {}).get("level", 0)),
        )
        for place, one in enumerate(mine, 1)
    )
    budget = (mine[-1].evidence.get("look") or {}).get("budget")
    error = 1 - float(row.policy.get("confidence_level", 0.95))
    # What a promotion was given goes on to the next look: only the others have used theirs up.
    spent = sum(one.level for one, kept in zip(shown, mine, strict=True) if kept.verdict != "promote")
    if budget is None:
        return Stream(shown, words("gate.stream.unbounded", count=len(mine)), 0.0, "")
    return Stream(
        shown,
        words("gate.stream.budget", count=len(mine), budget=budget),
        min(1.0, len(mine) / budget),
        words("gate.stream.spent", spent=words.percent(spent, decimals=2), error=words.percent(error, decimals=0)),
    )


def _of_look(one: LookRow, words: Words) -> str:
    return words("version", version=one.against_version) if one.against == "champion" else words("models.bar.baseline")


def _seeds(found: Mapping[str, Any] | None, metric: str) -> Interval | None:
    if not found:
        return None
    state: State = "ready" if found["low"] > 0 else "failed" if found["high"] < 0 else "waiting"
    return _interval(found["low"], found["difference"], found["high"], metric, state)


def _seeds_note(found: Mapping[str, Any] | None, row: VerdictRow, words: Words) -> str:
    if not found:
        return words("gate.seeds.none", asked=row.policy.get("minimum_seeds", 1))
    spread = bare_difference(row.metric, found["seed_deviation"]).lstrip("+")
    return words("gate.seeds.note", count=found["num_seeds"], spread=spread)


def _probe(found: Mapping[str, Any] | None, row: VerdictRow, words: Words) -> list[Bar]:
    bars = []
    for side, version in (("challenger", row.model_version), ("champion", row.against_version)):
        asked = (found or {}).get(side)
        if asked:
            name = words("version", version=version)
            top = 1.0 if row.metric in SHARES else max(asked["score"], asked["typo_score"], 1e-9)
            shown = {"clean": asked["score"], "typos": asked["typo_score"], "words": asked.get("paraphrase_score")}
            for key, value in shown.items():
                if value is None:
                    continue
                label = words(f"gate.probe.{key}", version=name)
                tone = "strong" if key == "clean" else "warn"
                bars.append(Bar(label, value / top, score(words, row.metric, value), tone))  # type: ignore[arg-type]
    return bars


def _speed(found: Mapping[str, Any] | None, row: VerdictRow, words: Words) -> list[Bar]:
    versions = {"challenger": row.model_version, "champion": row.against_version}
    times = {
        words("version", version=versions[side]): float(found[side][TIMED])
        for side in versions
        if found and (found.get(side) or {}).get(TIMED) is not None
    }
    most = max(times.values(), default=1.0)
    return [
        Bar(name, seconds / most, words("unit.milliseconds", value=f"{1000 * seconds:.1f}"), "blue")
        for name, seconds in times.items()
    ]


def _probe_note(found: Mapping[str, Any] | None, words: Words) -> str:
    if not found:
        return words("gate.probe.none")
    return words("gate.probe.note", count=found["num_examples"], share=words.percent(found["typo_share"], decimals=0))
