"""Is a challenger that is better on the whole worse somewhere? Non-inferiority, slice by slice.

Of each slice two things are asked about the mean paired difference μ, against the policy's margin m:

- *not worse*: H0 μ ≤ −m is rejected, so a loss of m is ruled out (non-inferiority);
- *worse*: H0 μ ≥ −m is rejected, so a loss beyond m is shown.

Neither being rejected is *unknown*: with 125 rows a loss of five points cannot be told from none, and a gate that asks
every slice to be proven harmless never opens. Both families of tests are corrected by Holm (1979), so that the more
slices are looked at, the more each one has to show.

The test is Wald's with one wins-and-losses pair added (Agresti and Min, *Simple improved confidence intervals for
comparing matched proportions*, Statistics in Medicine 2005: half an observation in each of the four cells), which
keeps its level in slices of a few dozen rows, where the plain one claims too much.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from components.recipes import GatePolicy

if TYPE_CHECKING:
    import pandas as pd

MINIMUM_ROWS = 30
"""Smaller slices are left out: they can show nothing, and would only make the others' tests stricter."""
MOST_LABELS = 50
"""More different answers than this are free text, not labels."""

Finding = Literal["not worse", "worse", "unknown"]


class Slice(BaseModel):
    """One slice of the test set. `difference` is challenger − champion, in the task's score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Such as `label: sympy`."""
    num_examples: int
    difference: float
    finding: Finding
    p_not_worse: float
    p_worse: float
    """One-sided, before Holm's correction."""


def groups(rows: "pd.DataFrame", policy: GatePolicy) -> dict[str, frozenset[str]]:
    """Slice → the ids in it, for the kinds of slices that the policy names.

    Kinds whose slices are those of an earlier kind (in a table whose labels are its sources) are left out.

    Args:
        rows: of the test split: `id`, and what there is of `text`, `source` and the answer, `label`.
    """
    found: dict[str, frozenset[str]] = {}
    for kind in policy.slices:
        column = _column(rows, kind)
        if column is None:
            continue
        by_value = rows["id"].groupby(column.to_numpy())
        parts = {f"{kind}: {value}": frozenset(ids) for value, ids in by_value if len(ids) >= MINIMUM_ROWS}
        known = set(found.values())
        if len(parts) > 1:
            found |= {name: ids for name, ids in parts.items() if ids not in known}
    return found


def _column(rows: "pd.DataFrame", kind: str) -> "pd.Series | None":
    if kind == "length":
        if "text" not in rows or len(rows) < 3 * MINIMUM_ROWS:
            return None
        ranks = rows["text"].str.len().rank(method="first")  # thirds of like size, whatever the ties
        return (3 * (ranks - 1) // len(rows)).map({0: "short", 1: "medium", 2: "long"})
    if kind == "language":
        return _languages(rows["text"]) if "text" in rows else None
    if kind == "group" and kind in rows:  # a file's, or a person's: what stands before the first slash holds many
        return rows[kind].astype(str).str.partition("/")[0]
    if kind not in rows or (kind == "label" and rows[kind].nunique() > MOST_LABELS):
        return None
    return rows[kind]


def _languages(texts: "pd.Series") -> "pd.Series":
    """Each text's language; nothing where it does not tell."""
    from components.data.language import UNDETERMINED, identify

    found = texts.map(lambda text: identify(str(text)).language)
    return found.where(found != UNDETERMINED)


def compare_slices(
    differences: "pd.Series", parts: Mapping[str, frozenset[str]], policy: GatePolicy
) -> tuple[Slice, ...]:
    """What can be said of each slice, at 1 − `confidence_level` over all of them together.

    Args:
        differences: id → challenger − champion.
        parts: slice → ids, as `groups` gives them.
    """
    means, not_worse, worse = [], [], []
    inside = [differences[differences.index.isin(ids)].to_numpy(np.float64) for ids in parts.values()]
    for d in inside:
        n = len(d) + 2
        mean = float(d.sum()) / n
        variance = (float((d**2).sum()) + 1) / n - mean**2
        z = (mean + policy.slice_margin) / math.sqrt(variance / n)
        means.append(float(d.mean()))
        not_worse.append(_upper_tail(z))
        worse.append(_upper_tail(-z))
    level = 1 - policy.confidence_level
    is_not_worse, is_worse = holm(not_worse, level), holm(worse, level)
    return tuple(
        Slice(
            name=name,
            num_examples=len(inside[i]),
            difference=means[i],
            finding="worse" if is_worse[i] else "not worse" if is_not_worse[i] else "unknown",
            p_not_worse=not_worse[i],
            p_worse=worse[i],
        )
        for i, name in enumerate(parts)
    )


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Which hypotheses are rejected so that the probability of any false rejection is at most `level` (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def objection(found: Sequence[Slice], policy: GatePolicy) -> str:
    """Why these slices forbid a promotion under the policy; empty when they do not."""
    if policy.slices_rule == "report":
        return ""
    bad = [one for one in found if one.finding == "worse"]
    if bad:
        return f"worse by more than {policy.slice_margin:.3f} on " + ", ".join(one.name for one in bad)
    if policy.slices_rule == "non_inferior" and (open_ := [one for one in found if one.finding == "unknown"]):
        return f"a loss of {policy.slice_margin:.3f} is not ruled out on " + ", ".join(one.name for one in open_)
    return ""


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
