"""What an explanation explains: the tokens a model read of a text, and the score it gave to its answer.

Every head's answer has one score, the logarithm of its probability in nats: of the label; of the tags that make the
spans; of the first and the last token; of the tokens that were written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.errors import UsageError
from components.tasks.base import Task, Writer, column_type, from_json
from components.tasks.spans import WORD, windows

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 2048
"""Of an input."""
MAX_WRITTEN = 128
"""Tokens of a written answer that are explained: the first ones."""
MAX_CHARACTERS = 100_000
"""Of an input; tokenizing more to throw it away takes seconds."""
NUM_CHOICES = 5


@dataclass(frozen=True)
class Choice:
    """One decision: what was said, and what else could have been."""

    said: str
    probability: float
    others: tuple[tuple[str, float], ...]
    """Likeliest first, without what was said."""


@dataclass
class Reading:
    """One sequence that the model reads, and where its answer stands in it."""

    ids: list[int]
    """(T,) special tokens and template among them; of an encoder–decoder what the encoder reads."""
    places: list[tuple[int, int] | None]
    """(T,) characters of the text, the end exclusive; None for what is not of the text, which is not attributed to."""
    deciding: list[int] = field(default_factory=list)
    """Positions whose output is the answer: all of them where a label is of the whole text."""
    chosen: list[int] = field(default_factory=list)
    """What the answer is at each of `deciding`: a label, a tag, a written token; of a span its two ends."""
    also: list[int] = field(default_factory=list)
    """Beside `chosen`, what would mean the same: a type has a tag for its first word and one for the others."""
    group: list[int] = field(default_factory=list)
    """Which of the answer's spans each of `deciding` is of."""
    written: list[int] = field(default_factory=list)
    """The answer's tokens, where a decoder writes them after what the encoder reads."""
    allowed: list[int] | None = None
    """(T,) 1 where an answer may lie; of a span head."""
    each_by_itself: bool = False
    """Of labels of which a text may have several: each is said or not, whatever the others are."""
    is_number: bool = False
    """Of a regressor, whose head says the answer itself, in standard deviations of what it was trained on."""

    def scores(self, logits: Any) -> "torch.Tensor":
        """(N,) log-probability of the answer, from what a head gave for N readings of the same shape; or the number."""
        import torch

        if self.is_number:
            return logits.float()[:, 0]
        if self.allowed is not None:
            first, last = (self.within(one) for one in logits)  # (N, T)
            return first[:, self.chosen[0]] + last[:, self.chosen[1]]
        if self.each_by_itself:
            import torch

            signs = torch.tensor([1.0 if i in self.chosen else -1.0 for i in range(logits.shape[-1])])
            return torch.nn.functional.logsigmoid(logits.float() * signs.to(logits.device)).sum(-1)
        logprobs = logits.float().log_softmax(-1)  # (N, labels) or (N, len(deciding), V)
        if logprobs.dim() == 2:
            return logprobs[:, self.chosen[0]]
        own = self._of(logprobs, self.chosen)
        if self.also:
            other = self._of(logprobs, self.also)
            same = torch.tensor(self.chosen) == torch.tensor(self.also)
            own = torch.where(same.to(own.device), own, torch.logaddexp(own, other))
        return own.sum(-1)

    @staticmethod
    def _of(logprobs: "torch.Tensor", numbers: list[int]) -> "torch.Tensor":
        import torch

        index = torch.tensor(numbers, device=logprobs.device)[None, :, None].expand(len(logprobs), -1, 1)
        return logprobs.gather(-1, index)[..., 0]

    def within(self, logits: "torch.Tensor") -> "torch.Tensor":
        """(N, T) log-probabilities of a span's end, over where one may lie."""
        import torch

        nowhere = torch.tensor(self.allowed, device=logits.device) == 0
        return logits.float().masked_fill(nowhere, float("-inf")).log_softmax(-1)


def read(task: Task, tokenizer: "PreTrainedTokenizerBase", text: str, output: str, *, model: Any) -> Reading:
    """How the model read `text` when it said `output`.

    Raises:
        UsageError: there is nothing in the text to attribute to, or it is too much; the answer is none of this model.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"the input has {len(text)} characters", f"at most {MAX_CHARACTERS} are explained")
    if not text.strip():
        raise UsageError("the input is empty: no token of it mattered", "explain an answer to some text")
    by_head = {"classifier": _label, "tagger": _tags, "span": _span, "generator": _written, "regressor": _number}
    reading = by_head[task.head](task, tokenizer, text, output, model)
    num_tokens = sum(place is not None and place[0] < place[1] for place in reading.places)
    if num_tokens > MAX_TOKENS:
        raise UsageError(f"the model read {num_tokens} tokens of the input", f"at most {MAX_TOKENS} are explained")
    if not num_tokens:
        raise UsageError("the model read no token of this input, so none mattered", "its template leaves it no room")
    return reading


def _label(task: Task, tokenizer: Any, text: str, output: str, model: Any) -> Reading:
    found = tokenizer(text, truncation=True, return_offsets_mapping=True, verbose=False)
    numbers = {str(name): int(number) for number, name in model.config.id2label.items()}
    several = column_type(task, task.columns[1]) == "json"
    said = [str(one) for one in _json(output, list)] if several else [output]
    if not set(said) <= set(numbers):
        raise UsageError(f"{output[:40]!r} is no label of this model", f"its labels are: {', '.join(sorted(numbers))}")
    places = _places(found["offset_mapping"], [kind == 0 for kind in _kinds(found, 0)])
    return Reading(
        found["input_ids"], places, list(range(len(places))), [numbers[one] for one in said], each_by_itself=several
    )


def _number(task: Task, tokenizer: Any, text: str, output: str, model: Any) -> Reading:
    del task, output, model
    found = tokenizer(text, truncation=True, return_offsets_mapping=True, verbose=False)
    places = _places(found["offset_mapping"], [kind == 0 for kind in _kinds(found, 0)])
    return Reading(found["input_ids"], places, list(range(len(places))), [0], is_number=True)


def _tags(task: Task, tokenizer: Any, text: str, output: str, model: Any) -> Reading:
    """The window that holds the first span, or the first: every tag of its spans, or that all of it is outside."""
    del task
    spans = [(one["start"], one["end"], one.get("type", "")) for one in _json(output, list) if "start" in one]
    found, _ = windows(tokenizer, [text], stride=32)
    window = _window(found, spans[0][:2] if spans else (0, 0))
    offsets, ids = found["offset_mapping"][window], found["input_ids"][window]
    places = _places(offsets, [kind == 0 for kind in _kinds(found, window)])
    numbers = {str(name): int(number) for number, name in model.config.id2label.items()}
    reading = Reading(ids, places)
    for word in WORD.finditer(text):
        number, span = next(((n, s) for n, s in enumerate(spans) if s[0] <= word.start() < s[1]), (0, None))
        position = next((i for i, p in enumerate(places) if p and p[0] <= word.start() < p[1]), None)
        if position is None or position in reading.deciding or (spans and span is None):
            continue
        tags = [f"B-{span[2]}", f"I-{span[2]}"] if span else ["O", "O"]
        if set(tags) <= set(numbers):
            reading.deciding.append(position)
            reading.chosen.append(numbers[tags[0]])
            reading.also.append(numbers[tags[1]])
            reading.group.append(number if spans else len(reading.group))
    if not reading.deciding:
        raise UsageError("the answer's spans are none that this model tags", "explain an answer of its own")
    return reading


def _span(task: Task, tokenizer: Any, text: str, output: str, model: Any) -> Reading:
    """The window that holds the answer whole; the first where there is none."""
    del task, model
    question, _, context = text.partition("\n")
    room = int(tokenizer.model_max_length) // 2
    cut = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    asked = question[: cut[room - 1][1]] if len(cut) > room else question
    found, _ = windows(tokenizer, [asked], [context], stride=64)
    moved = len(text) - len(context)
    said = _json(output, dict)
    ends = (int(said["start"]), int(said["end"])) if said.get("answer") and "start" in said else None
    window = 0 if ends is None else _window(found, (ends[0] - moved, ends[1] - moved), part=1)
    kinds = _kinds(found, window)
    places = [
        None if kind is None else (a + moved * (kind == 1), b + moved * (kind == 1))
        for kind, (a, b) in zip(kinds, found["offset_mapping"][window], strict=True)
    ]
    allowed = [int(i == 0 or kind == 1) for i, kind in enumerate(kinds)]
    chosen = [0, 0]
    if ends is not None:
        inside = [i for i, p in enumerate(places) if allowed[i] and p and p[0] < ends[1] and ends[0] < p[1]]
        if not inside:
            raise UsageError("the answer is no place of this text that the model read", "explain an answer of its own")
        chosen = [inside[0], inside[-1]]
    return Reading(found["input_ids"][window], places, sorted(set(chosen)), chosen, allowed=allowed)


def _written(task: Task, tokenizer: Any, text: str, output: str, model: Any) -> Reading:
    if not isinstance(task, Writer):
        raise UsageError(f"{task.name} does not say how it reads its input", "give its task prompts, is_over and said")
    (prompt,) = task.prompts([text], tokenizer)
    places = task.places(text, tokenizer) or _of_one_piece(text, prompt, tokenizer)
    lead = str(getattr(task, "lead", " "))
    said = tokenizer(
        f"{lead}{output}" if output else "", add_special_tokens=False, split_special_tokens=True, verbose=False
    )["input_ids"][:MAX_WRITTEN]
    if not said:  # that nothing was written is an answer, too
        said = [int(tokenizer.eos_token_id)]
    if model.config.is_encoder_decoder:
        return Reading(prompt, places, list(range(len(said))), said, written=said)
    ids = [*prompt, *said[:-1]]
    places += [None] * (len(said) - 1)
    return Reading(ids, places, list(range(len(prompt) - 1, len(ids))), said)


def _of_one_piece(text: str, prompt: Sequence[int], tokenizer: Any) -> list[tuple[int, int] | None]:
    found = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    own, offsets = found["input_ids"], found["offset_mapping"]
    start, first, length = _stretch(prompt, own)
    places: list[tuple[int, int] | None] = [None] * len(prompt)
    for i in range(length):
        places[start + i] = (int(offsets[first + i][0]), int(offsets[first + i][1]))
    return places


def _stretch(prompt: Sequence[int], own: Sequence[int]) -> tuple[int, int, int]:
    """Where the longest piece of the text's tokens that the prompt holds begins in it and in them, and its length.

    A task cuts a text that is too long at its end or at its beginning, and puts its template around.
    """
    best = (0, 0, 0)
    for length in range(min(len(prompt), len(own)), 0, -1):
        for first in {0, len(own) - length}:
            piece = list(own[first : first + length])
            for start in range(len(prompt) - length + 1):
                if list(prompt[start : start + length]) == piece:
                    return start, first, length
    return best


def _places(offsets: Sequence[tuple[int, int]], is_text: Sequence[bool]) -> list[tuple[int, int] | None]:
    return [(int(a), int(b)) if own else None for (a, b), own in zip(offsets, is_text, strict=True)]


def _kinds(found: Any, window: int) -> list[int | None]:
    """0 or 1 for the first and the second text, None for special tokens."""
    kinds: list[int | None] = found.sequence_ids(window)
    return kinds


def _window(found: Any, span: tuple[int, int], *, part: int = 0) -> int:
    for i, offsets in enumerate(found["offset_mapping"]):
        own = [place for kind, place in zip(_kinds(found, i), offsets, strict=True) if kind == part]
        if own and own[0][0] <= span[0] and span[1] <= own[-1][1]:
            return i
    return 0


def _json(output: str, kind: type) -> Any:
    try:
        found = from_json(output)
    except ValueError:
        return kind()
    return found if isinstance(found, kind) else kind()
