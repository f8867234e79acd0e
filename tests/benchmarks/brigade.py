"""One rater in five lies about one label. How far does the model move that learns from what they say?

Real rows: the demo's table `library`. Fifty raters rate the thousand rows of `pool`; ten of them want one label
wherever they look, the others are wrong on 5 %. The feedback becomes training rows beside the table's own, a head is
trained on them, and it is measured on the 2,000 rows of `test` and `reserve`. *Moved* is how much accuracy is lost
against the same feedback with the ten as honest as the rest; *without screening* every row teaches. The margin is what
the gate can tell apart on the table's 1,000 test rows: half its 95 % interval of that difference.

Four ways to brigade: everything is called the one label; one label only is called another; each text is rated once, so
that nobody contradicts anybody, and each rater meets ten canaries; and that without canaries, where nothing is to be
found and only the share of one person is limited.
"""

import json
import os
import platform
import random
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import pandas as pd

from components.evaluation import gate
from components.feedback.screening import screen
from components.ledger.schema import Feedback
from components.recipes import GatePolicy, ScreeningPolicy
from components.tasks import get_task
from tests.benchmarks.heads import Rows, head, library

NUM_RATERS = 50
BRIGADE_SHARE = 0.2
WRONG_SHARE = 0.05
NUM_CANARIES = 10
NUM_SEEDS = 5
WANTED, ONLY = "django", "sympy"
TASK = get_task("classification")

Lie = Callable[[str], str]


def everything(_: str) -> str:
    return WANTED


def one_label(truth: str) -> str:
    return WANTED if truth == ONLY else truth


WAYS: dict[str, tuple[Lie, int, bool]] = {
    "everything, 3 raters a text": (everything, 3, False),
    "one label, 3 raters a text": (one_label, 3, False),
    "everything, 1 rater a text, canaries": (everything, 1, True),
    "everything, 1 rater a text": (everything, 1, False),
}
"""Name → how a brigade answers, raters a text, whether they meet canaries."""


def feedback(
    rows: pd.DataFrame, *, lie: Lie | None, num_raters: int, canaries: pd.DataFrame, seed: int
) -> list[Feedback]:
    """What the raters say, in order. With and without a lie the same people meet the same texts."""
    draws = random.Random(seed)
    labels = sorted(rows["label"].unique())
    asked = [
        (text, label, rater)
        for text, label in zip(rows["text"], rows["label"], strict=True)
        for rater in draws.sample(range(NUM_RATERS), num_raters)
    ]
    asked += [
        (text, label, rater)
        for text, label in zip(canaries["text"], canaries["label"], strict=True)
        for rater in range(NUM_RATERS)
    ]
    draws.shuffle(asked)
    found = []
    for number, (text, label, rater) in enumerate(asked, 1):
        said = draws.choice([one for one in labels if one != label]) if draws.random() < WRONG_SHARE else label
        if lie is not None and rater < BRIGADE_SHARE * NUM_RATERS:
            said = lie(label)
        found.append(
            Feedback(number, f"f{number}", f"r{number}", 60.0 * number, "library", "correct", said, None,
                     f"rater {rater}", "dashboard", text, "", "banyan-library", 1, "received", "")
        )  # fmt: skip
    return found


class Bench:
    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.vector = {text: rows.vectors["pool"][i] for i, text in enumerate(rows.frames["pool"]["text"])}
        self.test_x = np.concatenate([rows.vectors[split] for split in ("test", "reserve")])
        self.test_y = np.concatenate([rows.frames[split]["label"] for split in ("test", "reserve")]).astype(str)

    def right(self, taught: list[tuple[str, str]]) -> np.ndarray:
        """(2000,) whether a head that was taught these (text, label) pairs is right."""
        x = np.concatenate([self.rows.vectors["train"], np.stack([self.vector[text] for text, _ in taught])])
        y = np.concatenate([self.rows.frames["train"]["label"], [label for _, label in taught]]).astype(str)
        return np.asarray(head(x, y).predict(self.test_x) == self.test_y)

    def screened(self, said: list[Feedback], policy: ScreeningPolicy) -> tuple[list[tuple[str, str]], dict[str, int]]:
        admitted, refused = screen(
            said, task=TASK, labels=self.rows.labels, train=self.rows.frames["train"],
            test=self.rows.frames["test"], policy=policy,
        )  # fmt: skip
        reasons = pd.Series([one.reason for one in refused]).value_counts().to_dict()
        return [(one.feedback.text, one.target) for one in admitted], reasons


def main() -> None:
    started, cpu = time.perf_counter(), time.process_time()
    rows = library()
    bench = Bench(rows)
    pool = rows.frames["pool"]
    ways: dict[str, dict[str, float]] = {}
    margins = []
    for name, (lie, num_raters, has_canaries) in WAYS.items():
        found = []
        for seed in range(NUM_SEEDS):
            canaries = pool.sample(NUM_CANARIES, random_state=seed) if has_canaries else pool.head(0)
            rated = pool[~pool["id"].isin(canaries["id"])]
            policy = ScreeningPolicy(canaries=dict(zip(canaries["text"], canaries["label"], strict=True)))
            given = {"num_raters": num_raters, "canaries": canaries, "seed": seed}
            honest, brigaded = (feedback(rated, lie=one, **given) for one in (None, lie))
            kept, reasons = bench.screened(brigaded, policy)
            kept_honest, _ = bench.screened(honest, policy)
            everyone, everyone_honest = (
                [(row.text, str(row.correction)) for row in said] for said in (brigaded, honest)
            )
            right = [bench.right(taught) for taught in (kept_honest, kept, everyone_honest, everyone)]
            margins.append(_margin(right[0], right[1]))
            lies = sum(pool_label != label for (_, label), pool_label in zip(kept, _labels(pool, kept), strict=True))
            found.append([*(one.mean() for one in right), len(kept), lies / max(1, len(kept))])
        mean = np.mean(found, axis=0)
        ways[name] = {
            "moved_with_screening": round(float(mean[0] - mean[1]), 4),
            "moved_without": round(float(mean[2] - mean[3]), 4),
            "accuracy_honest": round(float(mean[0]), 4),
            "rows_admitted": round(float(mean[4])),
            "wrong_among_admitted": round(float(mean[5]), 4),
        }
        print(f"{name}: {ways[name]}\n  refused (last seed): {reasons}", flush=True)
    found_out = [way for name, way in ways.items() if name != "everything, 1 rater a text"]
    print(
        json.dumps(
            {
                "benchmark": "brigade",
                "moved_with_screening": max(way["moved_with_screening"] for way in found_out),
                "moved_without": max(way["moved_without"] for way in found_out),
                "margin": round(float(np.mean(margins)), 4),
                "ways": ways,
                "raters": NUM_RATERS,
                "brigade_share": BRIGADE_SHARE,
                "seeds": NUM_SEEDS,
                "data_version": rows.version,
                "seconds": round(time.perf_counter() - started, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "cores": os.cpu_count(),
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in ("numpy", "scikit-learn", "torch", "transformers")},
                },
            }
        )
    )


def _labels(pool: pd.DataFrame, taught: list[tuple[str, str]]) -> list[str]:
    truth = dict(zip(pool["text"], pool["label"], strict=True))
    return [truth[text] for text, _ in taught]


def _margin(one: np.ndarray, other: np.ndarray) -> float:
    frames = [
        pd.DataFrame({"id": [f"{i:05d}" for i in range(1000)], "score": right[:1000].astype(float)})
        for right in (one, other)
    ]
    verdict = gate.compare(*frames, GatePolicy())
    return (verdict.high - verdict.low) / 2


if __name__ == "__main__":
    main()
