"""Precision and recall of near-duplicate removal on documents whose true overlap is known by construction.

Documents of random words are perturbed by replacing, deleting, inserting or moving words; every pair within a family
is labelled by its exact Jaccard index, computed here with plain Python sets. Pairs of different families share next to
nothing. Half of the pairs lie within 0.1 of a threshold, where a rough method fails.
"""

import json
import os
import platform
import random
import time
from itertools import combinations, pairwise

import numpy as np

from components.data.dedup import bands, near_pairs

NUM_FAMILIES = 3_000
MEMBERS = 3
NUM_WORDS = (30, 300)
THRESHOLDS = (0.5, 0.7, 0.8, 0.9)
MAIN = 0.8
SEED = 20


def perturbed(words: list[str], count: int, draw: random.Random, vocabulary: list[str]) -> list[str]:
    words = words[:]
    for _ in range(count):
        at = draw.randrange(len(words))
        kind = draw.randrange(4)
        if kind == 0:
            words[at] = draw.choice(vocabulary)
        elif kind == 1 and len(words) > 5:
            del words[at]
        elif kind == 2:
            words.insert(at, draw.choice(vocabulary))
        else:
            words.insert(draw.randrange(len(words)), words.pop(at))
    return words


def documents(seed: int) -> list[list[str]]:
    """Families of one document and its perturbed copies, some hardly touched and some rewritten by half."""
    draw = random.Random(seed)
    latin = [
        f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "ma", "lo", "ti", "ke", "sa")
    ]
    chinese = [chr(code) for code in range(0x4E00, 0x4E00 + 1200)]
    found = []
    for number in range(NUM_FAMILIES):
        vocabulary = chinese if number % 5 == 0 else latin
        base = draw.choices(vocabulary, k=draw.randint(*NUM_WORDS))
        found.append(base)
        for _ in range(MEMBERS - 1):
            share = draw.choice((0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2))
            found.append(perturbed(base, max(1, round(share * len(base))), draw, vocabulary))
    return found


def true_overlap(one: list[str], other: list[str]) -> float:
    first, second = set(pairwise(one)), set(pairwise(other))
    return len(first & second) / len(first | second)


def main() -> None:
    written = documents(SEED)
    texts = [("" if words[0] >= "\u4e00" else " ").join(words) for words in written]
    truth = {
        (low, high): true_overlap(written[low], written[high])
        for start in range(0, len(written), MEMBERS)
        for low, high in combinations(range(start, start + MEMBERS), 2)
    }
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    figures = {}
    for threshold in THRESHOLDS:
        started = time.process_time()
        found = {(int(low), int(high)) for low, high in near_pairs(texts, threshold=threshold)}
        seconds = time.process_time() - started
        wanted = {pair for pair, overlap in truth.items() if overlap >= threshold}
        close = sum(abs(overlap - threshold) < 0.1 for overlap in truth.values())
        figures[str(threshold)] = {
            "precision": round(len(found & wanted) / max(1, len(found)), 5),
            "recall": round(len(found & wanted) / max(1, len(wanted)), 5),
            "pairs_at_or_above": len(wanted),
            "pairs_below": len(truth) - len(wanted),
            "pairs_within_0.1": close,
            "bands_and_rows": bands(threshold),
            "cpu_seconds": round(seconds, 2),
            "mb_per_cpu_second": round(megabytes / seconds, 1),
        }
        print(f"threshold {threshold}: {figures[str(threshold)]}", flush=True)
    result = {
        "benchmark": "dedup_quality",
        "precision": figures[str(MAIN)]["precision"],
        "recall": figures[str(MAIN)]["recall"],
        "threshold": MAIN,
        "thresholds": figures,
        "documents": len(texts),
        "megabytes": round(megabytes, 1),
        "seed": SEED,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
