"""What to ask of a table: one of its own training rows, in which personal data is masked."""

from functools import lru_cache
from pathlib import Path

from components.settings import Settings
from dashboard.records import Seat

ASKED_AS_THEY_ARE = {"classification", "entities"}
"""Tasks whose question is a row's text, and nothing besides."""
CHARS = range(24, 260)
"""Of an example that reads well in a box of a few lines."""


def example(seat: Seat, *, settings: Settings) -> str:
    """The first training row of a handy length; its task's example where the table's rows are not here."""
    from components.data.manifests import head

    newest = head(settings) if seat.task in ASKED_AS_THEY_ARE else None
    if newest is None:
        return seat.example
    return _first(settings.workspace.data / "versions" / newest.version / seat.table / "train.parquet") or seat.example


@lru_cache(maxsize=64)
def _first(file: Path) -> str:
    import pyarrow.parquet as parquet

    if not file.is_file():
        return ""
    with parquet.ParquetFile(file) as rows:
        batch = next(rows.iter_batches(batch_size=200, columns=["text"]), None)
    texts = [str(text) for text in batch.column(0).to_pylist()] if batch else []
    return next((text for text in texts if len(text) in CHARS), texts[0][: CHARS.stop] if texts else "")
