"""Spans: where a quoted piece stands in a text, and long texts in windows of as many tokens as a model takes."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORD = re.compile(r"\w+|[^\w\s]")
"""A word, or one mark: what plain methods take for the units of a text."""
SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")
"""A sentence, or of code a line."""

MOVED = 16
"""Characters that cleaning may have taken away before a span: line ends, marks that are not seen."""
_MASKED = re.compile(r"\[(?:EMAIL|PHONE|CARD|IBAN|IP|KEY)_\d+\]")
"""What stands where something personal was: spans after it have moved by any number of characters."""


def located(text: str, piece: str, *, near: int | None = None, taken: Collection[tuple[int, int]] = ()) -> int:
    """Where `piece` begins in `text`: at `near`, or as close to it as it can have moved; at no place that is `taken`.

    Runs of spaces in the piece match any in the text: cleaning may have changed them.

    Raises:
        ValueError: it is not there; or without `near`, it is there more than once.
    """
    piece = piece.strip()
    if not piece:
        raise ValueError("an empty span")
    if near is not None and text[near : near + len(piece)] == piece and (near, near + len(piece)) not in taken:
        return near
    pattern = re.compile(r"\s+".join(map(re.escape, piece.split())))
    places = [found.start() for found in pattern.finditer(text) if found.span() not in taken]
    if not places:
        raise ValueError(f"span {piece[:40]!r} is not in the text")
    if near is None:
        if len(places) > 1:
            raise ValueError(f"span {piece[:40]!r} is in the text {len(places)} times: say which by its start")
        return places[0]
    place = min(places, key=lambda place: (abs(place - near), place))
    if abs(place - near) > MOVED and not _MASKED.search(text):
        raise ValueError(f"at {near} there is {text[near : near + len(piece)][:40]!r}, not span {piece[:40]!r}")
    return place


def end_of(text: str, piece: str, start: int) -> int:
    """Where the `piece` that begins at `start` ends (exclusive), whatever its spaces are in the text."""
    found = re.compile(r"\s+".join(map(re.escape, piece.split()))).match(text, start)
    assert found is not None  # `located` found it there
    return found.end()


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without spaces at its ends: tokens of some tokenizers begin with one."""
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))


def windows(tokenizer: "PreTrainedTokenizerBase", *texts: Sequence[str], stride: int) -> tuple[Any, list[int]]:
    """Texts (or pairs, of which the second is cut) in windows of `model_max_length` tokens that overlap by `stride`.

    Returns the tokenizer's encodings, one a window, with offsets in characters; and which text each is of.
    """
    length = int(tokenizer.model_max_length)
    inside = length - tokenizer.num_special_tokens_to_add(pair=len(texts) == 2)
    found = tokenizer(
        *map(list, texts),
        truncation="only_second" if len(texts) == 2 else True,
        max_length=length,
        stride=max(0, min(stride, inside // 4)),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        split_special_tokens=True,
    )
    return found, list(found["overflow_to_sample_mapping"])
