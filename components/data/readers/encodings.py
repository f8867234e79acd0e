"""Bytes to text: the encoding is found by byte order mark, by trial and by the look of the letters.

Bytes that are no text in it become lone surrogates, so that the row that holds them can be rejected alone.
"""

import codecs
import re
from dataclasses import dataclass

from components.errors import InputFileError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES = ["gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1251", "cp1252"]
"""What is asked of charset-normalizer. Left to itself it answered cp1250 for French and German."""
_SAMPLE_BYTES = 1 << 16
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b")
_MAX_CONTROL_SHARE = 0.02
"""Random bytes have a tenth; text has none, but for an accident here and there."""
_LOST = re.compile("[\udc80-\udcff]")
_LOST_MARK = "\udcff"


@dataclass(frozen=True)
class Decoded:
    """Text, and the name of the encoding it was in."""

    text: str
    encoding: str


def decode(content: bytes, *, name: str, encoding: str | None = None) -> Decoded:
    """The text; `encoding` is what a person or a file says of itself, and is detected where neither does.

    Raises:
        InputFileError: the bytes are no text, or there is no such encoding.
    """
    if encoding is not None:
        return _as(content, encoding, name)
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return _as(content, marked, name)
    if wide := _wide(content):
        return _as(content, wide, name)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as err:
        first = err
    else:
        _check_is_text(content, name, at=content.find(0))
        return Decoded(text, "utf-8")
    _check_is_text(content, name, at=first.start)
    text = content.decode("utf-8", "surrogateescape")
    num_lost = len(_LOST.findall(text))
    if sum(character > "\x7f" for character in text) >= 2 * num_lost:  # as many good letters as lost bytes
        return Decoded(text, "utf-8")
    return _as(content, _guessed(content), name)


def lost_bytes(text: str) -> str:
    """What is wrong with a piece of decoded text whose bytes were none; '' when nothing is."""
    lost = _LOST.search(text)
    if lost is None:
        return ""
    return f"byte 0x{ord(lost[0]) - 0xDC00:02x} is no text" if lost[0] != _LOST_MARK else "bytes that are no text"


def _as(content: bytes, encoding: str, name: str) -> Decoded:
    try:
        codec = codecs.lookup(encoding)
        if not codec._is_text_encoding:  # base64 and the like
            raise LookupError(encoding)
    except LookupError as err:
        raise InputFileError(f"{name}: there is no encoding {encoding!r}", "give one such as utf-8 or gb18030") from err
    if codec.name in {"utf-8", "utf-8-sig"}:
        return Decoded(content.decode(codec.name, "surrogateescape"), codec.name)
    try:
        return Decoded(content.decode(codec.name), codec.name)
    except UnicodeError:
        pass
    try:
        return Decoded(content.decode(codec.name, "replace").replace("\ufffd", _LOST_MARK), codec.name)
    except UnicodeError as err:  # idna and its kin know no "replace"
        raise InputFileError(f"{name} is not {codec.name}: {err}", "give its real encoding") from err


def _wide(content: bytes) -> str:
    """UTF-16 without a mark: every other byte of Latin letters is zero."""
    sample = content[:_SAMPLE_BYTES]
    if len(sample) < 4 or sample.count(0) < len(sample) // 5:
        return ""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    return "utf-16-le" if odd > 20 * even else "utf-16-be" if even > 20 * odd else ""


def _check_is_text(content: bytes, name: str, *, at: int) -> None:
    sample = content[:_SAMPLE_BYTES]
    num_controls = len(sample) - len(sample.translate(None, _CONTROLS))
    if num_controls > 2 and num_controls > _MAX_CONTROL_SHARE * len(sample):
        at = max(at, 0)
        raise InputFileError(
            f"{name} is no text: byte 0x{content[at]:02x} at offset {at}, and {num_controls} control bytes in the "
            f"first {len(sample)}",
            "give a text file, or say its format where the name does not",
        )


def _guessed(content: bytes) -> str:
    import charset_normalizer  # 50 ms, and only where a file is not UTF-8

    lines = [line for line in content[: 16 * _SAMPLE_BYTES].split(b"\n") if not line.isascii()]
    sample = b"\n".join(lines)[:_SAMPLE_BYTES]
    best = charset_normalizer.from_bytes(sample, cp_isolation=_CANDIDATES).best()
    if best is not None and best.encoding != "ascii":
        return best.encoding
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
