"""The data engine's memory: the same peak for 0.2 and 2 GB of distinct documents (`make bench NAME=data_memory`).

Documents are generated, seeded: words of an invented vocabulary, drawn by Zipf's law; one of twenty is the one before
with a word changed, so that there are edges to find. Each size runs in a process of its own; the peak is the largest
sum of proportional set sizes (PSS) over it and all below it, looked at twice a second.

Sizes in MB: DATA_MEMORY_SMALL (200), DATA_MEMORY_LARGE (2000); the engine's setting: DATA_MEMORY_LIMIT (1024).
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from components.data.engine.run import Resources, pack_corpus
from components.models.tokenizer import train_bpe
from components.recipes import Pack, TextRules

FOLDER = Path(".bench/data_memory")
SEED = 0
WORDS_PER_DOCUMENT = 700
FILE_BYTES = 64 << 20


def vocabulary() -> list[str]:
    draw = np.random.default_rng(SEED)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    made = {"".join(letters[draw.integers(0, len(letters), size)]) for size in draw.integers(2, 11, 60_000)}
    return ["the", "of", "and", "to", "that", "is", "with", *sorted(made)]


def generate(folder: Path, num_bytes: int) -> None:
    """JSON lines of about `num_bytes`."""
    words = vocabulary()
    draw = np.random.default_rng(SEED + 1)
    weights = 1 / np.arange(8, len(words) + 8)
    bounds = np.cumsum(weights / weights.sum())
    folder.mkdir(parents=True)
    written, number, before = 0, 0, ""
    while written < num_bytes:
        with (folder / f"{number:04}.jsonl").open("w", encoding="utf-8") as opened:
            number += 1
            while opened.tell() < min(FILE_BYTES, num_bytes - written):
                places = np.searchsorted(bounds, draw.random((64, WORDS_PER_DOCUMENT)))
                for place, row in enumerate(np.minimum(places, len(words) - 1).tolist()):
                    text = " ".join(map(words.__getitem__, row))
                    if place % 20 == 19:
                        text = before.replace(" the ", " changed ", 1)
                    before = text
                    opened.write(json.dumps({"text": text}) + "\n")
            written += opened.tell()
        print(f"  {written / 1e6:.0f} of {num_bytes / 1e6:.0f} MB written", flush=True)


def pss(root: psutil.Process) -> int:
    """Bytes of a process and all below it; shared pages count once."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii").splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        except (OSError, psutil.Error):  # it has just ended
            continue
    return total


def measure(size_mb: int, limit_mb: int) -> dict[str, float]:
    """Generate, pack in another process, and watch it."""
    raw, packed = FOLDER / f"raw-{size_mb}", FOLDER / f"packed-{size_mb}"
    generate(raw, size_mb * 1_000_000)
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.data_memory", "pack", str(raw), str(packed), str(limit_mb)]
    )
    watched, peak = psutil.Process(child.pid), 0
    while child.poll() is None:
        peak = max(peak, pss(watched))
        time.sleep(0.5)
    if child.returncode:
        sys.exit(child.returncode)
    seconds = time.monotonic() - began
    report = json.loads((packed / "packed.json").read_text("utf-8"))["origin"]["report"]
    if report["rows_in"] != report["rows_kept"] + sum(report["rejects"].values()):
        sys.exit("rows are lost")
    shutil.rmtree(raw)
    shutil.rmtree(packed)
    return {
        "seconds": round(seconds, 1),
        "peak_mb": round(peak / 1e6, 1),
        "edges": report["edges"],
        "rows_in": report["rows_in"],
        "rows_kept": report["rows_kept"],
        "bytes_in": report["bytes_in"],
    }


def pack(raw: Path, packed: Path, limit_mb: int) -> None:
    rules = TextRules(gopher=True, near_duplicate_threshold=0.8)
    recipe = Pack(name="memory", inputs=(raw,), rules=rules, tokenizer=FOLDER / "tokenizer")
    pack_corpus(
        recipe,
        folder=packed,
        resources=Resources(memory_mb=limit_mb),
        progress=lambda line: print(f"  {line}", flush=True),
    )


def main() -> None:
    if sys.argv[1:2] == ["pack"]:
        pack(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    small, large = int(os.environ.get("DATA_MEMORY_SMALL", "200")), int(os.environ.get("DATA_MEMORY_LARGE", "2000"))
    limit_mb = int(os.environ.get("DATA_MEMORY_LIMIT", "1024"))
    needed = 5 * large * 1_000_000
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    if shutil.disk_usage(FOLDER).free < needed:
        print(f"this needs {needed / 1e9:.0f} GB of disk under {FOLDER.resolve()}", file=sys.stderr)
        sys.exit(2)
    try:
        words = vocabulary()
        train_bpe((" ".join(words[low : low + 500]) for low in range(0, 20_000, 500)), 4096).save_pretrained(
            FOLDER / "tokenizer"
        )
        found = {}
        for size in (small, large):
            print(f"{size} MB of generated documents:", flush=True)
            found[size] = measure(size, limit_mb)
            print(f"  {found[size]}", flush=True)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    result = {
        "peak_10x_over_1x": round(found[large]["peak_mb"] / found[small]["peak_mb"], 3),
        "peak_mb": found[large]["peak_mb"],
        "edges": found[large]["edges"],
        "seconds": found[large]["seconds"],
        "limit_mb": limit_mb,
        "seed": SEED,
        "small": found[small],
        "large": found[large],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
