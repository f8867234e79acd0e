"""Precision and recall of masking, on rows as people write them (`privacy_rows`), half of which hold nothing personal.

A value is found where one span of its kind covers it whole and at most two characters more; every other span is a
false alarm. PUBLIC=DIR adds the names of persons, which a model finds, on WNUT-17's files in DIR (`names_quality`).
"""

import json
import os
import platform
import time
from collections import Counter
from pathlib import Path

from components.data.privacy import find
from tests.benchmarks import names_quality
from tests.benchmarks.privacy_rows import LabelledRow, rows

NUM_ROWS = 20_000
SEED = 20
SLACK = 2


def outcome(row: LabelledRow) -> tuple[int, int, int]:
    """True positives, false positives, false negatives of one row."""
    spans = {(span.kind, span.start, span.end) for span in find(row.text)}
    hits = 0
    for kind, value in row.values:
        begin = row.text.index(value)
        end = begin + len(value)
        for span in sorted(spans):
            if span[0] == kind and span[1] <= begin and span[2] >= end and span[2] - span[1] <= len(value) + SLACK:
                hits += 1
                spans.remove(span)
                break
    return hits, len(spans), len(row.values) - hits


def main() -> None:
    labelled = rows(NUM_ROWS, seed=SEED)
    started = time.process_time()
    outcomes = [outcome(row) for row in labelled]
    seconds = time.process_time() - started
    totals = [sum(column) for column in zip(*outcomes, strict=True)]
    by_kind: dict[str, Counter[str]] = {}
    for row, (hits, wrong, missed) in zip(labelled, outcomes, strict=True):
        by_kind.setdefault(row.what, Counter()).update({"found": hits, "wrong": wrong, "missed": missed, "rows": 1})
    print(f"{'about':<12}{'rows':>7}{'found':>7}{'missed':>7}{'wrong':>7}")
    for what, counts in sorted(by_kind.items()):
        print(f"{what:<12}{counts['rows']:>7}{counts['found']:>7}{counts['missed']:>7}{counts['wrong']:>7}")
    result = {
        "benchmark": "privacy_quality",
        "precision": round(totals[0] / (totals[0] + totals[1]), 4),
        "recall": round(totals[0] / (totals[0] + totals[2]), 4),
        "rows": NUM_ROWS,
        "hard_negative_rows": sum(not row.values for row in labelled),
        "cpu_microseconds_per_row": round(seconds / NUM_ROWS * 1e6, 1),
        "by_kind": {what: dict(counts) for what, counts in sorted(by_kind.items())},
        "seed": SEED,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version()},
    }
    if public := os.environ.get("PUBLIC"):
        result["names_of_persons"] = names_quality.measured(Path(public))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
