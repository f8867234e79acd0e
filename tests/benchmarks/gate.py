"""Does the gate keep its word over streams of retrainings that share one test set? On trained heads and real rows.

The population is known: the 2,000 rows of the splits `test` and `reserve`, which no head trains on. A challenger is
truly better if it is right on more of *these*. Each stream draws its test set of 1,000 rows from the population, with
replacement, so that its luck is that of a sample, and keeps it for all its challengers; heads train on random parts
of `train` and `pool`. A promotion is false if the challenger is right on no more of the population than the champion
it replaced.

- *Null streams*: champion and challengers train alike, on as many rows drawn at random. Half of them are a little
  better by luck, and to promote these is right.
- *Boundary*: the same trained pairs, with the two models' answers exchanged at random row by row: exactly as good, the
  worst case there is. Every promotion is false.
- *Power*: nineteen challengers that are no better by training, and one, at a random place, that trained on more rows.
- Beside the gate: the naive one (more answers right on the test set), the gate without a stream (95 % each time), and
  other ways to spend the same error, for the decision record.

SEEDS=30 also trains MiniLM itself so many times (`gate_seeds.py`), and reports how often challengers of the same recipe
are promoted falsely; SEEDS_ONLY=1 leaves the heads out.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import NormalDist

import numpy as np
import pandas as pd

from components.evaluation import gate, slices, spending
from components.recipes import GatePolicy
from tests.benchmarks import gate_seeds
from tests.benchmarks.heads import Rows, head, library

NUM_STREAMS = 200
NUM_EFFECT_STREAMS = 100
STREAM = 20
TEST_ROWS = 1000
NULL_ROWS = 600
CHAMPION_ROWS = 300
BETTER_ROWS = (400, 600, 900, 1200)
NUM_SEEDS = int(os.environ.get("SEEDS", "0"))
SEEDS_ONLY = os.environ.get("SEEDS_ONLY", "") == "1"
POLICY = GatePolicy(slices_rule="report")
STREAM_ERROR = 1 - POLICY.confidence_level


class Bench:
    """The rows, and heads trained on random parts of them."""

    def __init__(self, rows: Rows) -> None:
        self.x, self.y = _joined(rows, ("train", "pool"))
        self.population_x, self.population_y = _joined(rows, ("test", "reserve"))
        self.frame = pd.concat([rows.frames["test"], rows.frames["reserve"]], ignore_index=True)
        self.num_trained = 0

    def right(self, num_rows: int, *, seed: int) -> np.ndarray:
        """(2000,) whether a newly trained head is right on each row of the population."""
        chosen = np.random.default_rng(seed).choice(len(self.x), num_rows, replace=False)
        self.num_trained += 1
        trained = head(self.x[chosen], self.y[chosen])
        return np.asarray(trained.predict(self.population_x) == self.population_y)


def _joined(rows: Rows, splits: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    x = np.concatenate([rows.vectors[split] for split in splits])
    return x, np.concatenate([rows.frames[split]["label"] for split in splits]).astype(str)


def scores(right: np.ndarray, sample: np.ndarray) -> pd.DataFrame:
    """Per-example scores on a test set, as the gate takes them."""
    return pd.DataFrame({"id": [f"{i:05d}" for i in range(len(sample))], "score": right[sample].astype(float)})


# ---------------------------------------------------------------- gates: may the next challenger be promoted?


def ours(challenger: np.ndarray, champion: np.ndarray, sample: np.ndarray, promoted: list[bool]) -> bool:
    look = spending.look(promoted, POLICY)
    if _one_sided(challenger, champion, sample) >= look.level:
        return False  # the sign-flip test alone forbids it: no need to bootstrap
    return gate.compare(scores(challenger, sample), scores(champion, sample), POLICY, look=look).verdict == "promote"


def alone(challenger: np.ndarray, champion: np.ndarray, sample: np.ndarray, promoted: list[bool]) -> bool:
    if _one_sided(challenger, champion, sample) >= STREAM_ERROR / 2:
        return False
    return gate.compare(scores(challenger, sample), scores(champion, sample), POLICY).verdict == "promote"


def naive(challenger: np.ndarray, champion: np.ndarray, sample: np.ndarray, promoted: list[bool]) -> bool:
    return bool(challenger[sample].sum() > champion[sample].sum())


def basel(challenger: np.ndarray, champion: np.ndarray, sample: np.ndarray, promoted: list[bool]) -> bool:
    """α · 6/(π² k²), without end and without passing anything on."""
    level = STREAM_ERROR * 6 / (np.pi * (len(promoted) + 1)) ** 2
    return _one_sided(challenger, champion, sample) <= level


def even(challenger: np.ndarray, champion: np.ndarray, sample: np.ndarray, promoted: list[bool]) -> bool:
    """Half for the first of 25 looks, the other 24 alike, passed on after a promotion."""
    level = 0.0
    for k in range(len(promoted) + 1):
        passed_on = level if k and promoted[k - 1] else 0.0
        level = min(STREAM_ERROR * (0.5 if k == 0 else 0.5 / 24) + passed_on, STREAM_ERROR / 2)
    return _one_sided(challenger, champion, sample) <= level


def e_value(challenger: np.ndarray, champion: np.ndarray, sample: np.ndarray, promoted: list[bool]) -> bool:
    """A bet on the discordant rows (a uniform mixture over win shares above one half), spent as ours."""
    from scipy.special import betaincc, betaln

    wins = int((challenger[sample] & ~champion[sample]).sum())
    losses = int((~challenger[sample] & champion[sample]).sum())
    above = betaincc(wins + 1, losses + 1, 0.5)
    log_e = betaln(wins + 1, losses + 1) + np.log(max(above, 1e-300)) + np.log(2) + (wins + losses) * np.log(2)
    return bool(log_e >= -np.log(max(spending.look(promoted, POLICY).level, 1e-12)))


def _one_sided(challenger: np.ndarray, champion: np.ndarray, sample: np.ndarray) -> float:
    from scipy.special import bdtrc

    wins = int((challenger[sample] & ~champion[sample]).sum())
    losses = int((~challenger[sample] & champion[sample]).sum())
    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins else 1.0


Gate = Callable[[np.ndarray, np.ndarray, np.ndarray, list[bool]], bool]
GATES: dict[str, Gate] = {
    "gate": ours,
    "naive": naive,
    "each alone": alone,
    "6/(π²k²)": basel,
    "even": even,
    "e-values": e_value,
}


# ---------------------------------------------------------------- streams


def run(right: list[np.ndarray], sample: np.ndarray, may: Gate) -> list[dict[str, object]]:
    """One stream: the first head is champion, the others come in turn. What was promoted, and if wrongly."""
    champion, promoted, events = right[0], [], []
    for number, challenger in enumerate(right[1:], 1):
        said = may(challenger, champion, sample, promoted)
        promoted.append(bool(said))
        if said:
            events.append({"number": number, "is_false": challenger.sum() <= champion.sum()})
            champion = challenger
    return events


def at_the_boundary(right: list[np.ndarray], sample: np.ndarray, may: Gate, rng: np.random.Generator) -> bool:
    """Whether a stream of challengers that are exactly as good as the champion promotes any."""
    champion = right[0]
    for number, other in enumerate(right[1:], 1):
        swap = rng.random(len(sample)) < 0.5
        a, b = (np.where(swap, x[sample], y[sample]) for x, y in ((champion, other), (other, champion)))
        if may(a, b, np.arange(len(sample)), [False] * (number - 1)):
            return True
    return False


def main() -> None:
    started, cpu = time.perf_counter(), time.process_time()
    rows = library()
    of_seeds: dict[str, object] = {}
    if NUM_SEEDS >= 2:
        print(f"{NUM_SEEDS} fine-tunings of MiniLM that differ in their seed:", flush=True)
        right_of_seeds = gate_seeds.trained(NUM_SEEDS, rows)
        shown = {name: GATES[name] for name in ("gate", "naive", "each alone")}
        of_seeds = gate_seeds.measure(right_of_seeds, shown, run, num_test_rows=TEST_ROWS)
        of_seeds["seed_seconds"] = round(time.perf_counter() - started, 1)
        print(f"  false promotions, a pair: {of_seeds['seed_false_promotion_rate']}", flush=True)
    if SEEDS_ONLY:
        print(json.dumps({"benchmark": "gate", **of_seeds, "data_version": rows.version}))
        return
    bench = Bench(rows)
    rng = np.random.default_rng(0)
    print(f"{NUM_STREAMS} null streams of {STREAM} challengers, each head trained on {NULL_ROWS} rows:", flush=True)
    false, any_at_all, boundary = (dict.fromkeys(GATES, 0) for _ in range(3))
    population = len(bench.population_y)
    spread = []
    for stream in range(NUM_STREAMS):
        right = [bench.right(NULL_ROWS, seed=1_000_000 + stream * 100 + k) for k in range(STREAM + 1)]
        sample = rng.integers(0, population, TEST_ROWS)
        spread.append(np.std([one.mean() for one in right], ddof=1))
        for name, may in GATES.items():
            events = run(right, sample, may)
            false[name] += any(event["is_false"] for event in events)
            any_at_all[name] += bool(events)
            swaps = np.random.default_rng(stream)  # the same exchange for every gate
            boundary[name] += at_the_boundary(right, sample, may, swaps)
    for name in GATES:
        shares = (100 * count[name] / NUM_STREAMS for count in (false, any_at_all, boundary))
        print("  {:<12} false {:5.1f} %   any {:5.1f} %   exactly as good {:5.1f} %".format(name, *shares), flush=True)

    power: dict[str, dict[str, float]] = {}
    blocked = harmed = 0
    for more in BETTER_ROWS:
        found = dict.fromkeys(GATES, 0)
        at_first, effects = 0, []
        for stream in range(NUM_EFFECT_STREAMS):
            seed = 2_000_000 + more * 10_000 + stream * 30
            right = [bench.right(CHAMPION_ROWS, seed=seed + k) for k in range(STREAM)]
            better = bench.right(more, seed=seed + STREAM)
            sample = rng.integers(0, population, TEST_ROWS)
            place = int(rng.integers(1, STREAM + 1))
            effects.append((int(better.sum()) - int(right[0].sum())) / population)
            for name, may in GATES.items():
                stream_of = [*right[:place], better, *right[place:]]
                found[name] += any(event["number"] == place for event in run(stream_of, sample, may))
            first = ours(better, right[0], sample, [])
            at_first += first
            if first:
                ids = bench.frame.iloc[sample].assign(id=[f"{i:05d}" for i in range(TEST_ROWS)])
                with_slices = gate.compare(
                    scores(better, sample),
                    scores(right[0], sample),
                    POLICY.model_copy(update={"slices_rule": "not_worse"}),
                    groups=slices.groups(ids, POLICY),
                )
                harmed += 1
                blocked += with_slices.verdict != "promote"
        effect = f"{100 * float(np.mean(effects)):+.1f} points"
        power[effect] = {name: found[name] / NUM_EFFECT_STREAMS for name in GATES}
        power[effect]["gate, first look"] = at_first / NUM_EFFECT_STREAMS
        print(f"  {more} rows against {CHAMPION_ROWS}: {effect}: {power[effect]}", flush=True)

    looks = {k: spending.look([False] * (k - 1), POLICY).confidence_level for k in (1, 2, 3, 5, 10, 20, 25)}
    z = NormalDist().inv_cdf(0.975)
    rate = false["gate"] / NUM_STREAMS
    print(
        json.dumps(
            {
                "benchmark": "gate",
                "challengers": bench.num_trained,
                "streams": NUM_STREAMS + NUM_EFFECT_STREAMS * len(BETTER_ROWS),
                "null_streams": NUM_STREAMS,
                "challengers_per_stream": STREAM,
                "false_promotion_rate": rate,
                "false_promotion_rate_high": (
                    rate
                    + z**2 / (2 * NUM_STREAMS)
                    + z * np.sqrt(rate * (1 - rate) / NUM_STREAMS + z**2 / (4 * NUM_STREAMS**2))
                )
                / (1 + z**2 / NUM_STREAMS),
                "boundary_rate": boundary["gate"] / NUM_STREAMS,
                "boundary_rates": {name: count / NUM_STREAMS for name, count in boundary.items()},
                "nominal": round(STREAM_ERROR, 6),
                "naive_rate": false["naive"] / NUM_STREAMS,
                "each_alone_rate": false["each alone"] / NUM_STREAMS,
                "other_spending_rates": {name: false[name] / NUM_STREAMS for name in ("6/(π²k²)", "even", "e-values")},
                "any_promotion_rate": {name: count / NUM_STREAMS for name, count in any_at_all.items()},
                "power": {effect: of["gate"] for effect, of in power.items()},
                "power_by_gate": power,
                "slices_blocked_true_promotions": f"{blocked} of {harmed}",
                "confidence_level_at_look": {str(k): round(level, 5) for k, level in looks.items()},
                "seed_deviation_points": round(100 * float(np.mean(spread)), 2),
                **of_seeds,
                "data_version": rows.version,
                "seconds": round(time.perf_counter() - started, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "cores": os.cpu_count(),
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in ("numpy", "scipy", "scikit-learn", "torch", "transformers")},
                },
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
