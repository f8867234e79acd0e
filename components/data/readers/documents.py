"""Documents, of which each is one row: plain text, Markdown, HTML without its boilerplate, PDF with a text layer."""

import re
from collections.abc import Collection, Iterator

from components.data.readers.encodings import decode, lost_bytes
from components.data.readers.html import main_text
from components.data.readers.kinds import DOCUMENT_COLUMNS, RawRow, RawTable
from components.data.readers.pdf import pdf_text

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{2,40})", re.IGNORECASE)
_ALIASES = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "us-ascii": "cp1252"}
"""As browsers read these names: what pages call by them is more."""


def read_document(
    content: bytes, *, kind: str, name: str, file: str, folder: str, piece_chars: int | None, encoding: str | None
) -> RawTable:
    """One row, or a row for each piece of about `piece_chars`; with the file's name and its folder's as columns.

    Raises:
        InputFileError: no text, or a PDF that cannot be read.
    """
    used = ""
    if kind == "pdf":
        text = pdf_text(content, name=name)
    else:
        said = encoding or (_charset(content) if kind == "html" else None)
        decoded = decode(content, name=name, encoding=said)
        text, used = decoded.text, decoded.encoding
    wrong = lost_bytes(text)
    if kind == "html":
        text = main_text(text, name=name)
    elif kind == "markdown":
        text = _COMMENT.sub("", _FRONT_MATTER.sub("", text.replace("\r\n", "\n"), count=1))
    texts = list(pieces(text, piece_chars)) if piece_chars else [text]

    def rows(_: Collection[str], /) -> Iterator[RawRow]:
        if wrong:
            yield f"the document holds {wrong}"
            return
        for text in texts or [""]:
            yield {"text": text, "file": file, "folder": folder}

    return RawTable(list(DOCUMENT_COLUMNS), rows, used)


def pieces(text: str, piece_chars: int) -> Iterator[str]:
    """The text cut at blank lines into pieces of about `piece_chars`; a longer paragraph is one piece."""
    piece = ""
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        if piece and len(piece) + len(paragraph) > piece_chars:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    if piece.strip():
        yield piece


def _charset(content: bytes) -> str | None:
    """What a page says of itself, where that is true of all its bytes."""
    said = _CHARSET.search(content[:4096])
    if said is None:
        return None
    charset = said[1].decode("ascii").lower()
    try:
        content.decode(_ALIASES.get(charset, charset))
    except (LookupError, UnicodeError):
        return None
    return _ALIASES.get(charset, charset)
