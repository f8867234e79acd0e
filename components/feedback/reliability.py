"""Who is right when raters contradict each other: reliability by Dawid and Skene's EM.

Every rater has a confusion matrix π_r[k, l], the probability to say l where k is true; every item has a true label.
Neither is known, and EM finds both from who agrees with whom (Dawid and Skene, *Maximum likelihood estimation of
observer error-rates using the EM algorithm*, Applied Statistics 1979). Two things are added to the paper's method:

- a Dirichlet prior on each matrix's rows (maximum a posteriori), so that a rater of three items is not taken for
  perfect or for a liar;
- items with a known answer (canaries, training rows) stay clamped to it.

The whole matrix, not one accuracy a rater: who lies about one label only is right on all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

PRIOR_VOTES = 4.0
PRIOR_RIGHT = 0.8
"""What is thought of an unknown rater, as if seen on `PRIOR_VOTES` items of each true label."""
ITERATIONS = 50
CONVERGED = 1e-6


@dataclass(frozen=True)
class Vote:
    item: str
    rater: str
    said: str


@dataclass(frozen=True)
class Agreement:
    """What EM came to."""

    posterior: dict[str, dict[str, float]]
    """Item → label → probability that it is the true one."""
    trust: dict[tuple[str, str], tuple[int, float]]
    """(rater, label they said) → on how many items that others or a known answer speak of, and how often they were
    right there by what all *others* say: a rater's own vote never speaks for them."""


def dawid_skene(votes: Sequence[Vote], *, labels: Sequence[str], known: Mapping[str, str] | None = None) -> Agreement:
    """Labels and raters' reliabilities from votes. The order of the votes changes nothing.

    Args:
        votes: one a rater and item.
        labels: all there are; votes for others are not allowed.
        known: item → its true label, where it is known.
    """
    items = sorted({vote.item for vote in votes})
    raters = sorted({vote.rater for vote in votes})
    number = {label: k for k, label in enumerate(labels)}
    at_item, at_rater = ({name: i for i, name in enumerate(names)} for names in (items, raters))
    ordered = sorted(votes, key=lambda vote: (vote.item, vote.rater))
    item = np.array([at_item[vote.item] for vote in ordered], np.int64)
    rater = np.array([at_rater[vote.rater] for vote in ordered], np.int64)
    said = np.array([number[vote.said] for vote in ordered], np.int64)
    num_labels = len(labels)
    clamped = np.full(len(items), -1)
    for name, label in (known or {}).items():
        if name in at_item:
            clamped[at_item[name]] = number[label]
    prior = np.full((num_labels, num_labels), PRIOR_VOTES * (1 - PRIOR_RIGHT) / max(1, num_labels - 1))
    np.fill_diagonal(prior, PRIOR_VOTES * PRIOR_RIGHT)

    posterior = np.zeros((len(items), num_labels))
    np.add.at(posterior, (item, said), 1.0)  # majority vote to begin with, as in the paper
    posterior = _clamp(_shares(posterior), clamped)
    for _ in range(ITERATIONS):
        log_confusion, log_share = _maximise(posterior, item, rater, said, prior, len(raters))
        contributions = log_confusion[rater, :, said]  # (votes, labels)
        weight = np.tile(log_share, (len(items), 1))
        np.add.at(weight, item, contributions)
        before, posterior = posterior, _clamp(_softmax(weight), clamped)
        if np.abs(posterior - before).max(initial=0) < CONVERGED:
            break
    return Agreement(
        posterior={name: dict(zip(labels, posterior[i].tolist(), strict=True)) for name, i in at_item.items()},
        trust=_trust(posterior, item, rater, said, prior, clamped, raters, labels),
    )


def _maximise(
    posterior: Matrix, item: Index, rater: Index, said: Index, prior: Matrix, num_raters: int
) -> tuple[Matrix, Matrix]:
    """M-step: each rater's confusion matrix (raters, true, said) and the labels' shares, as logarithms."""
    confusion = np.tile(prior, (num_raters, 1, 1))
    np.add.at(confusion.transpose(0, 2, 1), (rater, said), posterior[item])
    share = posterior.sum(0) + 1.0
    return np.log(confusion / confusion.sum(2, keepdims=True)), np.log(share / share.sum())


def _trust(
    posterior: Matrix,
    item: Index,
    rater: Index,
    said: Index,
    prior: Matrix,
    clamped: Index,
    raters: Sequence[str],
    labels: Sequence[str],
) -> dict[tuple[str, str], tuple[int, float]]:
    log_confusion, log_share = _maximise(posterior, item, rater, said, prior, len(raters))
    contributions = log_confusion[rater, :, said]
    weight = np.tile(log_share, (len(posterior), 1))
    np.add.at(weight, item, contributions)
    without = _clamp(_softmax(weight[item] - contributions), clamped[item])
    has_others = (np.bincount(item, minlength=len(posterior))[item] > 1) | (clamped[item] >= 0)
    right = without[np.arange(len(item)), said]
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for r, k in sorted(set(zip(rater[has_others].tolist(), said[has_others].tolist(), strict=True))):
        mine = has_others & (rater == r) & (said == k)
        found[raters[r], labels[k]] = (int(mine.sum()), float(right[mine].mean()))
    return found


def _clamp(posterior: Matrix, clamped: Index) -> Matrix:
    """Rows whose label is known become certain of it."""
    sure = clamped >= 0
    posterior[sure] = 0.0
    posterior[sure, clamped[sure]] = 1.0
    return posterior


def _shares(counts: Matrix) -> Matrix:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1e-12)


def _softmax(weight: Matrix) -> Matrix:
    shifted = np.exp(weight - weight.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)
