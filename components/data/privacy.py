"""Personal data is masked before a text is stored for training.

Found by how people write it (`privacy_formats.py`), and by checksum where the number has one, so that ordinary numbers
stay. Where a format is also that of something else, the words before it decide: `version 1.2.3.4` is no address. Names
of people are not looked for: patterns cannot find them; who has a model gives what it found (`components/names.py`).
Precision and recall are in docs/benchmarks.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from components.data import privacy_formats as formats

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
"""Chinese keyboards write `１３９…＠`; one character for one, so that positions stay."""
_IS_FULL_WIDTH = re.compile("[\uff01-\uff5e\u3000]")
_POSSIBLE = re.compile(r"[@\d]|-----BEGIN|::|\[at\]|\(at\)|AKIA|ASIA| at \w+ dot ")
"""Every kind holds one of these: most texts are done after one look."""
_TAG = re.compile(r"\[(EMAIL|PHONE|CARD|IBAN|IP|ID|KEY|NAME)_(\d{1,6})\]")


@dataclass(frozen=True, slots=True)
class Span:
    """A personal value: `text[start:end]`. `kind` is EMAIL, PHONE, CARD, IBAN, IP, ID, KEY or NAME."""

    kind: str
    start: int
    end: int


def find(text: str, hint: int = formats.EVERYTHING) -> list[Span]:
    """What is personal in a text, in order, without overlaps: the more certain kind wins. `hint`: `formats.hints`."""
    is_full_width = not text.isascii() and _IS_FULL_WIDTH.search(text)
    if not is_full_width and not _POSSIBLE.search(text):
        return []
    if is_full_width:
        text, hint = text.translate(_FULL_WIDTH), formats.EVERYTHING
    found: list[Span] = [Span("", *match.span()) for match in _TAG.finditer(text)]  # masked before: let alone
    for kind, start, end in formats.find(text, hint):
        if all(end <= other.start or start >= other.end for other in found):
            found.append(Span(kind, start, end))
    return sorted((span for span in found if span.kind), key=lambda span: span.start)


def mask_row(
    texts: Sequence[str],
    names: Sequence[Sequence[Span]] = (),
    *,
    kinds: frozenset[str] | None = None,
    hints: Sequence[int] | None = None,
) -> list[str]:
    """The texts of one row with personal data replaced by `[KIND_n]`: the same value, the same number in all.

    A number that one of the texts already has, from an earlier masking, is not given to another value. `names` are the
    names of persons that a model found in each text; one that occurs elsewhere in the row is masked there too. Of other
    `kinds` than those given nothing is masked. `hints` are those of `privacy_formats.hints`, asked for before.
    """
    spans = [find(text, hint) for text, hint in zip(texts, hints or [formats.EVERYTHING] * len(texts), strict=True)]
    if kinds is not None:
        spans = [[span for span in found if span.kind in kinds] for found in spans]
    if any(names):
        spans = with_names(texts, spans, names)
    if not any(spans):
        return list(texts)
    numbers: dict[tuple[str, str], int] = {}
    taken = {match.groups() for text in texts for match in _TAG.finditer(text)}
    last: dict[str, int] = {}
    masked = []
    for text, found in zip(texts, spans, strict=True):
        parts, done = [], 0
        for span in found:
            key = (span.kind, _same(span.kind, text[span.start : span.end]))
            if key not in numbers:
                number = last.get(span.kind, 0) + 1
                while (span.kind, str(number)) in taken:
                    number += 1
                numbers[key] = last[span.kind] = number
            parts += [text[done : span.start], f"[{span.kind}_{numbers[key]}]"]
            done = span.end
        masked.append("".join([*parts, text[done:]]))
    return masked


def with_names(
    texts: Sequence[str], spans: Sequence[Sequence[Span]], names: Sequence[Sequence[Span]]
) -> list[list[Span]]:
    """The spans of one row's texts and those of the names: a name within an address is part of the address."""
    values = {text[span.start : span.end].strip() for text, some in zip(texts, names, strict=True) for span in some}
    ordered = sorted(filter(None, values), key=lambda value: (-len(value), value))
    pattern = re.compile(
        "|".join(rf"(?<![^\W_]){re.escape(one)}(?![^\W_])" if one.isascii() else re.escape(one) for one in ordered)
        or r"(?!)"
    )
    found = []
    for text, some in zip(texts, spans, strict=True):
        taken = [*some, *(Span("", *match.span()) for match in _TAG.finditer(text))]
        new = [Span("NAME", *match.span()) for match in pattern.finditer(text)]
        free = [one for one in new if all(one.end <= other.start or one.start >= other.end for other in taken)]
        found.append(sorted([*some, *free], key=lambda span: span.start))
    return found


def mask(text: str) -> str:
    """`text` with personal data replaced by its kind and a number: `[EMAIL_1]`; the kinds are those of `Span`."""
    return mask_row([text])[0]


def mask_all(texts: Sequence[str]) -> list[str]:
    """`mask` of each text, several times as fast for many of them: most are seen to hold nothing of most kinds."""
    return [mask_row([text], hints=[hint])[0] for text, hint in zip(texts, formats.hints(texts), strict=True)]


def _same(kind: str, value: str) -> str:
    """What two ways to write one value share."""
    value = value.translate(_FULL_WIDTH)
    if kind == "KEY":
        return value
    if kind in {"EMAIL", "IP"}:
        return value.casefold()
    if kind == "NAME":
        return " ".join(value.split()).casefold()
    return re.sub(r"[^0-9A-Za-z]", "", value).upper()
