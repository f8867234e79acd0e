"""The playground: an answer with what is known of it, and what became of the feedback on it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.ledger.schema import FATES, Fate
from dashboard.records import Answered, Seat
from dashboard.text import Words
from dashboard.viewmodels.shapes import Bar, Fact, short


@dataclass(frozen=True)
class AnswerView:
    output: str
    caption: str
    alternatives: tuple[Bar, ...]
    receipt: tuple[Fact, ...]


@dataclass(frozen=True)
class FateStep:
    title: str
    detail: str
    is_done: bool
    is_refusal: bool = False


def answering(seats: Sequence[Seat]) -> list[Seat]:
    """Those that can be asked: classifiers first, since they take a correction by a click."""
    return sorted((seat for seat in seats if seat.version is not None), key=lambda seat: (not seat.labels, seat.table))


def loading(seats: Sequence[Seat]) -> list[str]:
    """Tables whose first model is on its way."""
    return [seat.table for seat in seats if seat.version is None and seat.state == "loading"]


def seat_note(seat: Seat, words: Words) -> str:
    """What is to be said of a seat that is not simply ready."""
    if seat.state == "swapping":
        return words("playground.swapping")
    if seat.state == "stale":
        return words("playground.stale", version=f"v{seat.version}")
    return ""


def answer_view(answered: Answered, words: Words) -> AnswerView:
    receipt = answered.receipt
    model = f"{receipt['model']} v{receipt['version']}"
    if answered.confidence is None:
        caption = words("playground.by", model=model)
    else:
        caption = words("playground.sure", confidence=words.percent(answered.confidence, decimals=0), model=model)
    said = _labels(answered.output)
    alternatives = tuple(
        Bar(label, share, words.percent(share), "strong" if label in said else "plain")
        for label, share in answered.alternatives[:5]
    )
    how = dict(receipt.get("generation") or {})
    parity = how.pop("parity", None) or {}
    generation = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sorted(how.items()))
    facts = [
        Fact(words("playground.receipt.request"), str(receipt["request_id"]), True),
        Fact(words("playground.receipt.model"), model),
        Fact(words("playground.receipt.weights"), str(receipt.get("weights_sha256") or ""), True),
        Fact(words("playground.receipt.template"), str(receipt.get("template_sha256") or ""), True),
        Fact(words("playground.receipt.generation"), generation),
        Fact(words("playground.receipt.parity"), _parity(parity, words)),
    ]
    return AnswerView(answered.output, caption, alternatives, tuple(fact for fact in facts if fact.value))


def _parity(found: Mapping[str, object], words: Words) -> str:
    if not {"largest_difference", "tolerance", "num_probes"} <= found.keys():
        return ""
    return words("playground.receipt.parity.value", **found)


def right_labels(chosen: Sequence[str], *, none: str) -> str | None:
    """The correction that somebody has put together, as the task writes it; `none` says that no label is right."""
    return json.dumps([label for label in chosen if label != none], ensure_ascii=False) if chosen else None


def _labels(output: str) -> set[str]:
    """What was said: one label, or each of a list."""
    try:
        found = json.loads(output)
    except ValueError:
        return {output}
    return {output, *(map(str, found) if isinstance(found, list) else ())}


def fate_steps(history: Sequence[Fate], words: Words) -> tuple[FateStep, ...]:
    """The whole way of a row: the steps that it has taken, and those that may come."""
    # Received a second time, by an operator's word: the refusal that was overruled stays in sight.
    again = next((at for at, fate in enumerate(history) if at and fate.fate == "received"), 0)
    overruled = (history[0], history[again - 1]) if again else ()
    taken: dict[str, Fate] = {fate.fate: fate for fate in history[again:]}
    if "refused" in taken and not {"admitted", "trained", "measured"} & taken.keys():
        way: tuple[str, ...] = ("received", "refused")
    else:
        way = tuple(fate for fate in FATES if fate != "refused")
    return tuple(
        FateStep(words(f"fate.{name}"), fate_detail(fate, words) if fate else "", fate is not None, name == "refused")
        for name, fate in (*((one.fate, one) for one in overruled), *((name, taken.get(name)) for name in way))
    )


def fate_detail(fate: Fate, words: Words) -> str:
    """What a step of the way says beyond its name."""
    if fate.fate == "refused":
        said = words.named("reason", fate.reason)
        if not fate.effect:
            return said
        again = "given_again" if fate.effect.get("is_given_again") else "not_given_again"
        return said + words("fate.detail.and") + words(f"fate.detail.{again}", version=fate.model_version)
    if fate.fate == "measured" and fate.effect:
        before, after = (
            float(fate.effect.get("score_before", 0)) >= 0.5,
            float(fate.effect.get("score_after", 0)) >= 0.5,
        )
        key = {
            (False, True): "now_right",
            (True, True): "still_right",
            (False, False): "still_wrong",
            (True, False): "now_wrong",
        }[before, after]
        return words(f"fate.detail.{key}")
    if fate.model_name:
        return words("fate.detail.model", model=f"{fate.model_name} v{fate.model_version}")
    if fate.data_version:
        return words("fate.detail.data", version=short(fate.data_version))
    said = words.named("reason", fate.reason) if fate.reason else ""
    why = str((fate.effect or {}).get("why", ""))
    return words("fate.detail.why", said=said, why=why) if why else said
