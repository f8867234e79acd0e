"""gzip and zstd, to the end or not at all, up to a size."""

import gzip
import io
import zlib

import pyarrow as pa

from components.errors import InputFileError

_CHUNK = 1 << 22


def decompress(content: bytes, kind: str, *, name: str, max_bytes: int) -> bytes:
    """The whole content.

    Raises:
        InputFileError: damaged, cut off, or larger than `max_bytes`.
    """
    parts: list[bytes] = []
    size = 0
    try:
        stream = (
            gzip.GzipFile(fileobj=io.BytesIO(content))
            if kind == "gzip"
            else pa.CompressedInputStream(pa.BufferReader(content), "zstd")
        )
        while part := stream.read(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > max_bytes:  # a few kilobytes can unpack to gigabytes
                raise InputFileError(f"{name} unpacks to more than {max_bytes} bytes", "raise max_bytes if it is meant")
    except (OSError, EOFError, zlib.error, pa.ArrowException) as err:
        raise InputFileError(
            f"{name} is no whole {kind} file ({len(content)} bytes): {err}", "write or copy it again"
        ) from err
    return b"".join(parts)
