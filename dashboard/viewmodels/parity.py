"""What the parity gate found of a version: one row an engine that was held against the trainer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.ecosystem import State
from dashboard.text import Words

if TYPE_CHECKING:
    from components.evaluation.parity import Parity


@dataclass(frozen=True)
class ParityRow:
    """One engine; differences in nats of writers, of shares of others."""

    engine: str
    precision: str
    verdict: str
    state: State
    probes: int
    largest: str
    mean: str
    problem: str
    """Where it first differs; empty where it passed."""


COLUMNS = {
    "engine": "parity.engine",
    "precision": "parity.precision",
    "verdict": "parity.verdict",
    "probes": "parity.probes",
    "largest": "parity.largest",
    "mean": "parity.mean",
    "problem": "parity.problem",
}
"""Field → its heading."""


def parity_rows(found: "Mapping[str, Parity]", words: Words) -> list[ParityRow]:
    """In the engines' order: the reference first."""
    order = sorted(found.values(), key=lambda one: (one.engine != "torch", one.engine))
    return [
        ParityRow(
            engine=one.engine,
            precision=one.precision,
            verdict=words("parity.passed" if one.passed else "parity.blocked"),
            state="ready" if one.passed else "failed",
            probes=one.num_probes,
            largest=words("parity.of", value=f"{one.largest:.2g}", tolerance=f"{one.tolerance:g}"),
            mean=words("parity.of", value=f"{one.mean:.2g}", tolerance=f"{one.mean_tolerance:g}"),
            problem=str(one.mismatch or ""),
        )
        for one in order
    ]
