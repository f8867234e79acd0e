"""Why an answer was given, ready to be drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.text import Words
from dashboard.viewmodels.shapes import Bar, Fact

MOST_DECISIONS = 8
"""Of a written answer: the steps that it was least sure of."""
MOST_OTHERS = 4


@dataclass(frozen=True)
class Lit:
    """A piece of the text, and how strongly it is lit."""

    text: str
    strength: float
    """In [−1, 1]; below zero it spoke against the answer."""
    note: str = ""


@dataclass(frozen=True)
class Decision:
    """What was said at one step, beside what else could have been."""

    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class WhyView:
    masked: str
    """Said where the explanation is of a masked copy; empty else."""
    lit: tuple[Lit, ...]
    lead: str
    attention: tuple[Lit, ...]
    """Empty where the model has none."""
    decisions: tuple[Decision, ...]
    decisions_lead: str
    sure: str
    similar: tuple[Fact, ...]
    similar_by: str


def why_view(found: Mapping[str, Any], words: Words) -> WhyView:
    """From what the gateway says of an answer.

    Raises:
        KeyError, TypeError, ValueError: the reply is of a form that is not known.
    """
    pieces = found["pieces"]
    changed = float(found["score"]) - float(found["blank_score"])
    weighed = found["alternatives"]
    shown = least_sure(weighed)
    error = words.number(abs(found["completeness_error"]), decimals=3)
    similar = tuple(
        Fact(f"{words.number(row['similarity'], decimals=2)} · {row['target']}", str(row["text"]))
        for row in found["similar"]
    )
    by = str(found["similar_by"])
    return WhyView(
        masked=words("why.masked", output=found["output"]) if found["is_masked_copy"] else "",
        lit=lit(found["text"], pieces, [float(piece["attribution"]) for piece in pieces]),
        lead=words("why.parts.lead", count=found["num_steps"])
        if found["method"] == "leaving parts out"
        else words("why.tokens.lead", changed=f"{changed:+.2f}", error=error),
        attention=_attention(found),
        decisions=tuple(_decision(one, words) for one in shown),
        decisions_lead=words("why.weighed.least", count=len(shown), total=len(weighed))
        if len(shown) < len(weighed)
        else "",
        sure=_sure(found["calibration"], words),
        similar=similar,
        similar_by=words("why.similar.by", by=by) if similar else words("why.similar.none", reason=by),
    )


def lit(text: str, pieces: Sequence[Mapping[str, Any]], values: Sequence[float]) -> tuple[Lit, ...]:
    """The whole text in pieces, the strongest fully lit; what was not read is there, unlit."""
    most = max((abs(value) for value in values), default=0.0) or 1.0
    found: list[Lit] = []
    at = 0
    for piece, value in zip(pieces, values, strict=True):
        start, end = int(piece["start"]), int(piece["end"])
        if start > at:
            found.append(Lit(text[at:start], 0.0))
        found.append(Lit(text[start:end], value / most, f"{value:+.3f}"))
        at = max(at, end)
    if at < len(text):
        found.append(Lit(text[at:], 0.0))
    return tuple(found)


def least_sure(weighed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of many decisions those that could most easily have been others, in their order."""
    order = sorted(range(len(weighed)), key=lambda i: (float(weighed[i]["probability"]), i))[:MOST_DECISIONS]
    return [weighed[i] for i in sorted(order)]


def _attention(found: Mapping[str, Any]) -> tuple[Lit, ...]:
    if not found["attention_caution"]:
        return ()
    pieces = found["pieces"]
    values = [sum(map(float, piece["attention"])) / max(1, len(piece["attention"])) for piece in pieces]
    return lit(found["text"], pieces, values)


def _decision(one: Mapping[str, Any], words: Words) -> Decision:
    said = (str(one["said"]), float(one["probability"]))
    others = [(str(name), float(p)) for name, p in one["others"][:MOST_OTHERS]]
    return Decision(
        tuple(
            Bar(name.strip() or words("why.nothing"), p, words.percent(p), "strong" if i == 0 else "plain")
            for i, (name, p) in enumerate([said, *others])
        )
    )


def _sure(sure: Mapping[str, Any] | None, words: Words) -> str:
    if sure is None:
        return words("why.sure.unknown")
    confidence = words.percent(sure["confidence"], decimals=0)
    if sure["score"] is None:
        return words("why.sure.none", confidence=confidence)
    return words(
        "why.sure.known",
        confidence=confidence,
        count=words.number(sure["num_rows"]),
        low=words.percent(sure["low"], decimals=0),
        high=words.percent(sure["high"], decimals=0),
        score=words.percent(sure["score"], decimals=0),
        least=words.percent(sure["score_low"], decimals=0),
        most=words.percent(sure["score_high"], decimals=0),
    )
