"""The text layer of a PDF."""

import io
import logging
import zlib

from components.errors import InputFileError

_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zlib.error,
)
"""pypdf walks whatever the file claims to be: beside its own errors, damaged files raised each of these families."""


def pdf_text(content: bytes, *, name: str) -> str:
    """The text of all pages, in order, a blank line between two.

    Raises:
        InputFileError: damaged, encrypted, or without a text layer.
    """
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    loud = logging.getLogger("pypdf")
    level = loud.level
    loud.setLevel(logging.CRITICAL)  # it tells each oddity of each object; what counts becomes one error
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputFileError(f"{name} is encrypted", "save it without a password")
        pages = [page.extract_text() for page in reader.pages]
    except (PyPdfError, *_DAMAGE) as err:
        raise InputFileError(
            f"{name} is no PDF that can be read ({len(content)} bytes): {type(err).__name__}: {err}",
            "open it and save it again",
        ) from err
    finally:
        loud.setLevel(level)
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if not text:
        raise InputFileError(f"{name} has {len(pages)} pages and no text layer", "run text recognition on it first")
    return text
