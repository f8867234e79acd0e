"""Why an answer: what of the input mattered, what else was weighed, how sure it was and how often that is right."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from components.evaluation.attention_maps import CAUTION, attention_maps
from components.evaluation.attribution import Attribution, attribute, outputs, twin
from components.evaluation.calibration import NUM_BINS, expected_calibration_error
from components.evaluation.reading import NUM_CHOICES, Choice, Reading, read
from components.tasks.base import Task
from components.tasks.spans import SENTENCE

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OUTSIDE = "O"
MAX_MAPPED_TOKENS = 640
"""Maps of every head of every layer grow with the square of an input."""
MAX_SPAN_TOKENS = 30
"""As the answers themselves."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Piece(Frozen):
    """A token of the input, several where they share one character; of a long input a part."""

    text: str
    start: int
    end: int
    """Characters of the input, the end exclusive."""
    attribution: float
    """What it added to the answer's log-probability, in nats; below zero it spoke against it."""
    attention: tuple[float, ...] = ()
    """A layer each: what the deciding positions gave to it, mean over heads."""


class Weighed(Frozen):
    """A decision within the answer, and what else could have been."""

    said: str
    probability: float
    others: tuple[tuple[str, float], ...]


class Sure(Frozen):
    """How often answers as sure as this were right on the test split of this very version."""

    confidence: float
    low: float
    high: float
    """The bin of confidence that it lies in."""
    num_rows: int
    score: float | None
    """Mean score of the bin's rows; None where there are none."""
    score_low: float | None
    score_high: float | None
    """95 % interval of it (Wilson 1927)."""
    error: float
    """Expected calibration error over all bins (Guo et al. 2017, eq. 3)."""


class Similar(Frozen):
    """A row that the model was trained on."""

    id: str
    text: str
    target: str
    similarity: float
    """Cosine, at most 1."""


class Explanation(Frozen):
    """Why one answer was given."""

    task: str
    text: str
    output: str
    confidence: float | None
    pieces: tuple[Piece, ...]
    """Of the input that the model read, in its order; what it did not read has none."""
    score: float
    """Log-probability of the answer in nats."""
    blank_score: float
    """The same where nothing of the input is known; the attributions add up to the difference."""
    completeness_error: float
    """What they lack to it, in nats."""
    num_steps: int
    """Of gradients; or how many parts were left out, one at a time."""
    method: str
    """`integrated gradients`, or of a long input `leaving parts out`: then the attributions add up to nothing."""
    attention_caution: str = ""
    """What attention does not say; empty where the model has none."""
    alternatives: tuple[Weighed, ...]
    is_masked_copy: bool = False
    """Whether personal data was masked in `text`: then it is what the model says to that copy that is explained."""
    calibration: Sure | None = None
    similar: tuple[Similar, ...] = ()
    similar_by: str = ""
    """How the similar rows were found; or why there are none."""


def explain(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    text: str,
    *,
    output: str | None = None,
    confidence: float | None = None,
) -> Explanation:
    """Explain what `model` says to `text`, or an `output` that it has said. The model itself is left as it is.

    Deterministic; similar rows and calibration are for whoever knows where the model comes from (`explained`).

    Raises:
        UsageError: the input is empty or too large to explain; or the output is none of this model's.
    """
    import torch

    from components.training.device import exact

    with exact():
        if output is None:
            (answer,) = task.answer(model, tokenizer, [text])
            output, confidence = answer.output, answer.confidence
        reading = read(task, tokenizer, text, output, model=model)
        plain = twin(model)
        found = attribute(plain, tokenizer, reading, breaks=[one.start() for one in SENTENCE.finditer(text)])
        maps = attention_maps(plain, reading) if len(reading.ids) <= MAX_MAPPED_TOKENS else None
        with torch.no_grad():
            weighed = _weighed(plain, tokenizer, task, text, reading)
    return Explanation(
        task=task.name,
        text=text,
        output=output,
        confidence=confidence,
        pieces=_pieces(text, reading, found, maps),
        score=found.score,
        blank_score=found.blank_score,
        completeness_error=found.error,
        num_steps=found.num_steps,
        method=found.method,
        attention_caution=CAUTION if maps is not None else "",
        alternatives=weighed,
    )


def calibrated(confidence: float, per_example: "pd.DataFrame") -> Sure | None:
    """What came of answers as sure as this; None where the version states no confidence.

    Args:
        per_example: columns `score`, `confidence`, of the version's test split.
    """
    if "confidence" not in per_example or per_example.empty or per_example["confidence"].isna().any():
        return None
    place = min(int(confidence * NUM_BINS), NUM_BINS - 1)
    bins = (per_example["confidence"] * NUM_BINS).clip(upper=NUM_BINS - 0.001).astype(int)
    scores = per_example.loc[bins == place, "score"]
    number = len(scores)
    mean = float(scores.mean()) if number else None
    ends = (None, None) if mean is None else _wilson(mean, number)
    return Sure(
        confidence=confidence,
        low=place / NUM_BINS,
        high=(place + 1) / NUM_BINS,
        num_rows=number,
        score=mean,
        score_low=ends[0],
        score_high=ends[1],
        error=expected_calibration_error(per_example),
    )


def _wilson(mean: float, number: int) -> tuple[float, float]:
    """Of a share; scores between 0 and 1 vary less than shares of the same mean, so it is wide enough for them."""
    z = 1.96
    middle = (mean + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * (mean * (1 - mean) / number + z * z / (4 * number * number)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _pieces(text: str, reading: Reading, of: Attribution, maps: "torch.Tensor | None") -> tuple[Piece, ...]:
    """Tokens, or parts, in the text's order; those that share a character, as bytes of one do, are added up."""
    placed: list[tuple[int, int, float, list[float]]] = []
    for part, value in zip(of.parts, of.values, strict=True):
        own = [place for i in part if (place := reading.places[i]) and place[0] < place[1]]
        if own:
            attention = [] if maps is None else maps[:, list(part)].sum(1).tolist()
            placed.append((own[0][0], own[-1][1], value, attention))
    found: list[list[Any]] = []
    for start, end, value, attention in sorted(placed, key=lambda one: one[:2]):
        if found and start < found[-1][1]:
            last = found[-1]
            last[1] = max(last[1], end)
            last[2] += value
            last[3] = [a + b for a, b in zip(last[3], attention, strict=True)]
        else:
            found.append([start, end, value, attention])
    return tuple(
        Piece(text=text[start:end], start=start, end=end, attribution=value, attention=tuple(attention))
        for start, end, value, attention in found
    )


# ---------------------------------------------------------------- what else was weighed


def _weighed(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", task: Task, text: str, reading: Reading
) -> tuple[Weighed, ...]:
    out = outputs(model, reading)
    if task.head == "regressor":
        return ()  # a number has no other beside it
    if task.head == "span":
        choices = [_ends(out, text, reading)]
    elif task.head == "tagger":
        choices = _types(out[0].float().softmax(-1), model, text, reading)
    elif task.head == "classifier":
        names = {int(number): str(name) for number, name in (model.config.id2label or {}).items()}
        if reading.each_by_itself:
            return _each(out[0].float().sigmoid().tolist(), reading, names)
        choices = [_ranked(out[0].float().softmax(-1), reading.chosen[0], lambda number: names[number])]
    else:
        rows = out[0].float().softmax(-1)  # (written, V)
        choices = [
            _ranked(row, number, lambda one: str(tokenizer.decode([one])))
            for row, number in zip(rows, reading.chosen, strict=True)
        ]
    return tuple(Weighed(said=one.said, probability=one.probability, others=one.others) for one in choices)


def _each(p: list[float], reading: Reading, names: dict[int, str]) -> tuple[Weighed, ...]:
    """Every label against its being left out, the least sure first."""
    found = []
    for number, share in enumerate(p):
        is_said, name = number in reading.chosen, names[number]
        said, other = (name, f"not {name}") if is_said else (f"not {name}", name)
        sure = share if is_said else 1 - share
        found.append(Weighed(said=said, probability=sure, others=((other, 1 - sure),)))
    return tuple(sorted(found, key=lambda one: (one.probability, one.said))[:NUM_CHOICES])


def _ranked(p: "torch.Tensor", chosen: int, name: Any) -> Choice:
    """(K,) probabilities."""
    values, order = p.topk(min(NUM_CHOICES + 1, len(p)))
    others = [
        (str(name(number)), float(value))
        for value, number in zip(values, order.tolist(), strict=True)
        if number != chosen
    ]
    return Choice(str(name(chosen)), float(p[chosen]), tuple(others[:NUM_CHOICES]))


def _types(p: "torch.Tensor", model: Any, text: str, reading: Reading) -> list[Choice]:
    """Per span: its type against the others; both marks of a type are one. p (words, tags)."""
    names = {int(number): str(name) for number, name in model.config.id2label.items()}
    choices = []
    for _, of_one in groupby(range(len(reading.group)), key=lambda i: reading.group[i]):
        rows = list(of_one)
        first, after = rows[0], rows[-1] + 1
        share: dict[str, float] = {}
        for number, name in names.items():
            kind = name[2:] if name[1:2] == "-" else name
            share[kind] = share.get(kind, 0.0) + float(p[first:after, number].mean())
        own = names[reading.chosen[first]]
        own = own[2:] if own[1:2] == "-" else own
        begin, end = reading.places[reading.deciding[first]], reading.places[reading.deciding[after - 1]]
        words = text[begin[0] : end[1]].strip() if begin and end else ""
        others = sorted(((k, v) for k, v in share.items() if k != own), key=lambda one: (-one[1], one[0]))
        choices.append(Choice(f"{words} → {own}", share[own], tuple(others[:NUM_CHOICES])))
    if names[reading.chosen[0]] != OUTSIDE:
        return choices
    return sorted(choices, key=lambda one: one.probability)[:NUM_CHOICES]  # no span: the words it was least sure of


def _ends(out: Any, text: str, reading: Reading) -> Choice:
    """The likeliest other spans that begin elsewhere, and that there is no answer."""
    first, last = (reading.within(one)[0].exp() for one in out)  # (T,)
    joint = (first[:, None] * last[None, :]).triu().tril(MAX_SPAN_TOKENS - 1)
    joint[0, 1:] = 0  # the first token alone means that there is none
    ranked: list[tuple[str, float]] = []
    chosen = (reading.chosen[0], reading.chosen[1])
    for start in joint.max(1).values.argsort(descending=True, stable=True).tolist():
        end = int(joint[start].argmax())
        if start == chosen[0] or float(joint[start, end]) == 0 or len(ranked) == NUM_CHOICES:
            continue
        ranked.append((_between(text, reading, start, end), float(joint[start, end])))
    return Choice(_between(text, reading, *chosen), float(first[chosen[0]] * last[chosen[1]]), tuple(ranked))


def _between(text: str, reading: Reading, start: int, end: int) -> str:
    a, b = reading.places[start], reading.places[end]
    return text[a[0] : b[1]].strip() if start and a and b else ""
