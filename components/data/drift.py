"""How far a table has moved from the last accepted version: effect sizes, corrected for how few rows there are.

A p-value alone calls every difference in a large table significant, and none in a small one; so a drift counts only
where it is both large and not by chance.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.data.language import identify

ALPHA = 0.01
SAMPLE = 1_000
"""So many texts of each side are looked at for their language. Ids are hashes, so the first are as good as drawn."""


@dataclass(frozen=True)
class Drift:
    """One measure. `effect` is 0 for no difference; 0.1, 0.3, 0.5 are small, medium, large (Cohen 1988)."""

    measure: str
    effect: float
    p_value: float
    num_before: int
    num_now: int

    @property
    def certain(self) -> float:
        """The effect where it is not by chance, else 0."""
        return self.effect if self.p_value < ALPHA else 0.0


def drifts(before: pd.DataFrame, now: pd.DataFrame, *, label: str) -> list[Drift]:
    """Drift of labels (where `label` names their column), sources, languages, and length of the texts."""
    found = [names("label", before[label], now[label])] if label else []
    languages = [[identify(str(text)).language for text in frame["text"].head(SAMPLE)] for frame in (before, now)]
    found.append(names("source", before["source"], now["source"]))
    found.append(names("language", *languages))
    found.append(lengths(before["text"].str.len().to_numpy(float), now["text"].str.len().to_numpy(float)))
    return found


def names(measure: str, before: Sequence[str] | pd.Series, now: Sequence[str] | pd.Series) -> Drift:
    """Cramér's V of version × name, bias-corrected (Bergsma, J. Korean Stat. Soc. 42, 2013), and the χ² test's p."""
    from scipy.stats import chi2

    found = [pd.Series(side, dtype=object).astype(str).value_counts() for side in (before, now)]
    counts = [Counter({str(name): int(number) for name, number in side.items()}) for side in found]
    columns = sorted({*counts[0], *counts[1]})
    table = np.array([[one[name] for name in columns] for one in counts], float)  # (2, K)
    total, wide = table.sum(), len(columns)
    if wide < 2 or not table.sum(axis=1).all():
        return Drift(measure, 0.0, 1.0, len(before), len(now))
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    statistic = float(((table - expected) ** 2 / expected).sum())
    corrected = max(0.0, statistic / total - (wide - 1) / (total - 1))
    sides = min(wide - (wide - 1) ** 2 / (total - 1), 2 - 1 / (total - 1)) - 1
    effect = min(1.0, float(np.sqrt(corrected / sides))) if sides > 0 else 0.0
    return Drift(measure, round(effect, 4), float(chi2.sf(statistic, wide - 1)), len(before), len(now))


def lengths(before: np.ndarray, now: np.ndarray) -> Drift:
    """Of the logarithm of the length: Hedges' g (1981) as a correlation r, which has V's scale, and Welch's p."""
    from scipy.stats import ttest_ind

    one, other = np.log1p(before), np.log1p(now)
    freedom = len(one) + len(other) - 2
    if min(len(one), len(other)) < 2 or np.ptp(np.concatenate([one, other])) == 0:
        return Drift("length", 0.0, 1.0, len(one), len(other))
    pooled = np.sqrt(((len(one) - 1) * one.var(ddof=1) + (len(other) - 1) * other.var(ddof=1)) / freedom)
    if pooled == 0:
        return Drift("length", 1.0, 0.0, len(one), len(other))
    g = abs(one.mean() - other.mean()) / pooled * (1 - 3 / (4 * freedom - 1))
    p_value = float(ttest_ind(one, other, equal_var=False).pvalue)
    return Drift("length", round(float(g / np.sqrt(g**2 + 4)), 4), p_value, len(one), len(other))
