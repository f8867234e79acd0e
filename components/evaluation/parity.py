"""The parity gate: does what serves a model say what its trainer says? Asked before a version is registered.

The reference is the trainer's own way from a row to log-probabilities: the base's tokenizer, the task's `rows` and
`collate`, one pass over whole sequences, and the sum of them must be the task's own loss. An engine gets the bare text
and goes its own way: its tokenizer, its template, its batches, its cache. What both read must be the same tokens, and
what they think of what follows must be near: a skewed template, a wrong merge, another tokenizer, a mask that is
shifted or a precision that is too coarse all show here, and where they begin is said.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from components.serving.scoring import Read

log = logging.getLogger(__name__)

NUM_WRITTEN_ALONE = 2
"""Tokens of a writer's target that are looked at alone: one after the prompt, one out of the cache."""
TOLERANCES: dict[tuple[str, str], tuple[float, float]] = {
    ("generator", "float32"): (5e-3, 5e-4),
    ("generator", "float16"): (0.5, 0.03),
    ("generator", "bfloat16"): (1.5, 0.12),
    ("encoder", "float32"): (1e-3, 1e-4),
    ("encoder", "float16"): (0.02, 2e-3),
    ("encoder", "bfloat16"): (0.1, 0.01),
}
"""(head, precision) → largest and mean difference allowed: of log-probabilities in nats, of encoders' heads of
probabilities. About three times what was measured on trained weights (docs/benchmarks.md, Parity)."""


class Probe(BaseModel):
    """One reading of one text, as the trainer does it. `values` as in `serving.scoring.Read`."""

    model_config = ConfigDict(frozen=True)

    text: str
    ids: tuple[int, ...]
    num_given: int
    values: tuple[float, ...]


class Reference(BaseModel):
    """What every engine of a version must reproduce; kept with the version."""

    model_config = ConfigDict(frozen=True)

    task: str
    head: Literal["generator", "encoder"]
    precision: str
    """Of the weights, and of the pass that this was computed in."""
    probes: tuple[Probe, ...]


class Mismatch(BaseModel):
    """Where an engine first differs."""

    model_config = ConfigDict(frozen=True)

    text: str
    position: int
    """Token of what is read, from 0; of a classifier's probabilities, the label."""
    what: Literal["token", "log-probability", "probability"]
    expected: float | None
    got: float | None
    """None: it has nothing there."""
    together: bool
    """Seen in a mixed batch, not alone."""

    def __str__(self) -> str:
        how = "in a mixed batch" if self.together else "alone"
        return (
            f"{self.what} {self.position} of {self.text[:60]!r}, {how}: expected {_shown(self.expected)}, "
            f"got {_shown(self.got)}"
        )


class Parity(BaseModel):
    """One engine's differences from the reference."""

    model_config = ConfigDict(frozen=True)

    engine: str
    precision: str
    passed: bool
    num_probes: int
    num_values: int
    largest: float
    mean: float
    """Of |difference| over all values, alone and together."""
    tolerance: float
    """What `largest` may be; `mean_tolerance`, what `mean` may."""
    mean_tolerance: float
    mismatch: Mismatch | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.mismatch:
            return f"{self.engine}, {self.precision}: blocked, {self.mismatch}"
        verdict = "passed" if self.passed else "blocked: too far off on average"
        return (
            f"{self.engine}, {self.precision}: {verdict}, {self.num_probes} probes, largest difference "
            f"{self.largest:.2g} of {self.tolerance:g}, mean {self.mean:.2g} of {self.mean_tolerance:g}"
        )


PARITY_TAG = "banyan.parity"
"""A version's tag: its `Verdicts`, as JSON."""


class Verdicts(BaseModel):
    """Engine → what came of it before the version was registered."""

    engines: dict[str, Parity] = {}


def verdicts(tags: Mapping[str, str]) -> dict[str, Parity]:
    """Engine → its parity, out of a version's tags; empty for versions that were registered without."""
    return Verdicts.model_validate_json(tags.get(PARITY_TAG) or "{}").engines


VERDICT_FILE = "parity.json"
"""An engine's parity on this machine, beside what was made of the version for it."""


def engines_folder(root: Path, weights_sha256: str) -> Path:
    """Where a version's graphs and verdicts lie in the workspace at `root`; they can be made again at any time."""
    return root / "engines" / weights_sha256[:16]


def measured_here(root: Path, weights_sha256: str) -> dict[str, Parity]:
    """Engine → its newest parity on this machine; those that never were to serve the version are not there."""
    files = sorted(
        engines_folder(root, weights_sha256).glob(f"*/{VERDICT_FILE}"), key=lambda path: path.stat().st_mtime
    )
    found = filter(None, map(read_verdict, files))
    return {one.engine: one for one in found}


def read_verdict(path: Path) -> Parity | None:
    """What `keep` wrote down; None where there is nothing, or something damaged, which is made anew."""
    try:
        return Parity.model_validate_json(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def keep(found: Parity, folder: Path) -> None:
    """Write a verdict down for `measured_here`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{VERDICT_FILE}.tmp"
    beside.write_text(found.model_dump_json(), "utf-8")
    beside.replace(folder / VERDICT_FILE)


class Scoring(Protocol):
    """What the gate needs of an engine."""

    name: str
    precision: str
    """That it computes in; of mixed ones, the coarsest."""
    takes_given: bool
    """Whether `score` heeds `given`; else it writes by itself."""

    def score(self, texts: list[str], given: list[list[int]], *, together: bool) -> list[list[Read]]: ...


# ---------------------------------------------------------------- the comparison


def check(
    engine: Scoring, reference: Reference, *, rescore: Callable[[Sequence[Read]], list[Read]] | None = None
) -> Parity:
    """An engine held against the trainer, alone and in a mixed batch.

    Args:
        rescore: the trainer's log-probabilities of what was read: what an engine that writes by itself is held against.
    """
    started = time.perf_counter()
    texts = list(dict.fromkeys(probe.text for probe in reference.probes))
    wanted = {text: [probe for probe in reference.probes if probe.text == text] for text in texts}
    given = [list(wanted[text][0].ids[wanted[text][0].num_given :]) for text in texts]
    largest, mean = tolerance(reference, engine.precision)
    found = _Differences(reference, tolerance=largest)
    for together in (False, True):
        few = given if together else [tokens[:NUM_WRITTEN_ALONE] for tokens in given]
        reads = engine.score(texts, few, together=together)
        pools = reads if len(reads) == len(texts) else [reads[0]] * len(texts)
        for text, pool in zip(texts, pools, strict=True):
            for probe in wanted[text]:
                read = _same(probe, pool)
                if read is not None and rescore is not None and not engine.takes_given:
                    [again] = rescore([read])
                    probe = Probe(text=text, ids=again.ids, num_given=again.num_given, values=again.values)
                found.compare(probe, read, together=together)
    average = found.total / max(1, found.num_values)
    result = Parity(
        engine=engine.name,
        precision=engine.precision,
        passed=found.mismatch is None and average <= mean and found.num_values > 0,
        num_probes=len(texts),
        num_values=found.num_values,
        largest=found.largest,
        mean=average,
        tolerance=largest,
        mean_tolerance=mean,
        mismatch=found.mismatch,
        seconds=time.perf_counter() - started,
    )
    log.info("parity: %s (%.1f s)", result, result.seconds)
    return result


def tolerance(reference: Reference, precision: str) -> tuple[float, float]:
    """Largest and mean difference allowed to an engine of that precision; the reference may be the coarser one."""
    pairs = [TOLERANCES[reference.head, one] for one in (reference.precision, precision)]
    return max(pairs)


class _Differences:
    """Sums over all values, and the first that is too large."""

    def __init__(self, reference: Reference, *, tolerance: float) -> None:
        self.mismatch: Mismatch | None = None
        self.num_values, self.total, self.largest = 0, 0.0, 0.0
        self._tolerance = tolerance
        self._what: Literal["log-probability", "probability"] = (
            "log-probability" if reference.head == "generator" else "probability"
        )
        self._writes = reference.head == "generator"

    def compare(self, probe: Probe, read: Read | None, *, together: bool) -> None:
        """Tokens first: where they differ, what is thought of them says nothing."""
        if read is None:
            self._miss(probe, 0, "token", probe.ids[0] if probe.ids else None, None, together)
            return
        ids = probe.ids[: probe.num_given], read.ids[: read.num_given]
        if ids[0] != ids[1]:
            at = _common(*ids)  # below both lengths, or at the end of the shorter
            expected, got = (float(one[at]) if at < len(one) else None for one in ids)
            self._miss(probe, at, "token", expected, got, together)
            return
        if not self._writes and len(probe.values) != len(read.values):
            at = min(len(probe.values), len(read.values))
            expected, got = (one[at] if at < len(one) else None for one in (probe.values, read.values))
            self._miss(probe, at, self._what, expected, got, together)
        for i, (expected, got) in enumerate(zip(probe.values, read.values, strict=False)):
            apart = abs(expected - got)
            self.num_values += 1
            self.total += apart
            self.largest = max(self.largest, apart)
            if not apart <= self._tolerance:  # of NaN, too
                at = probe.num_given + i if self._writes else i
                self._miss(probe, at, self._what, expected, got, together)

    def _miss(
        self,
        probe: Probe,
        position: int,
        what: Literal["token", "log-probability", "probability"],
        expected: float | None,
        got: float | None,
        together: bool,
    ) -> None:
        self.mismatch = self.mismatch or Mismatch(
            text=probe.text, position=position, what=what, expected=expected, got=got, together=together
        )


def _same(probe: Probe, pool: Sequence[Read]) -> Read | None:
    """The reading of the probe's tokens; where there is none, the one that goes along with it the furthest."""
    wanted = probe.ids[: probe.num_given]
    return max(pool, key=lambda read: _common(wanted, read.ids[: read.num_given]), default=None)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two begin with alike; one more if they are alike to the end."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return at + (at == len(one) == len(other))


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:g}"
