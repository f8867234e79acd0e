"""What every side of the data benchmark is given and answers; imported in each peer's own environment.

The rows' rules are the platform's own blocks, `clean_code`, `gopher_reason` and `mask` (`mask_all` for a batch), which
know nothing of what executes them: where a peer's users would call a Python function, it calls these.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

END = "<|endoftext|>"
WORKERS = 2
THRESHOLD = 0.8
NUM_BANDS, ROWS_PER_BAND = 18, 6
NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
"""Those of `components.data.dedup.bands(0.8)`, which the benchmark checks."""
BLOCK_TOKENS = 1024

_EAST = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[^\W{_EAST}]+|[{_EAST}]")
"""As `components.data.shingles` cuts words."""


@dataclass
class Run:
    """One run of one side: its arguments, and the clock by stage."""

    shards: list[Path]
    """Parquet files with the columns `id` and `text`."""
    tokenizer: Path
    """A folder with tokenizer.json."""
    folder: Path
    """Empty, for whatever is written."""
    seconds: dict[str, float] = field(default_factory=dict)
    began: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def finish(self, *, rows_in: int, rejected: Mapping[str, int], rows_kept: int, tokens: int) -> None:
        """Say the result as the last line."""
        whole = time.perf_counter() - self.began
        print(
            json.dumps(
                {
                    "seconds": round(whole, 3),
                    "stages": self.seconds,
                    "rows_in": rows_in,
                    "rows_kept": rows_kept,
                    "rejected": dict(rejected),
                    "tokens": tokens,
                    "blocks": tokens // BLOCK_TOKENS,
                }
            ),
            flush=True,
        )


def begin() -> Run:
    """The run as the command line has it; the clock starts, so that imports belong before it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    run = Run(sorted(given.shards.glob("*.parquet")), given.tokenizer, given.folder)
    run.began = time.perf_counter()
    return run
