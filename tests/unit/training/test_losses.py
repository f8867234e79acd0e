import doctest
import math

import pytest
import torch

from components.errors import RecipeError
from components.tasks.base import IGNORED
from components.training import losses

F = torch.nn.functional


def test_the_examples_in_the_docstrings_hold():
    """The second article's: −ln 0.6 = 0.5108."""
    found = doctest.testmod(losses)
    assert found.attempted >= 5
    assert found.failed == 0


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_tokens_are_summed_over_those_that_count():
    logits, labels = draw(2, 3, 5), torch.tensor([[1, IGNORED, 4], [0, 2, IGNORED]])
    summed, count = losses.tokens(logits, labels)
    picked = [(0, 0, 1), (0, 2, 4), (1, 0, 0), (1, 1, 2)]
    expected = -sum(logits.log_softmax(-1)[r, t, k] for r, t, k in picked)
    torch.testing.assert_close(summed, expected)
    assert count == 4


def test_causal_pairs_each_place_with_the_next_token():
    logits, ids = draw(1, 4, 9), torch.tensor([[3, 1, 2, 8]])
    summed, count = losses.causal(logits, ids)
    torch.testing.assert_close(summed, F.cross_entropy(logits[0, :3], ids[0, 1:], reduction="sum"))
    assert count == 3


def test_classification_counts_texts():
    logits, labels = draw(4, 3), torch.tensor([0, 2, 1, 1])
    summed, count = losses.classification(logits, labels)
    torch.testing.assert_close(summed, F.cross_entropy(logits, labels, reduction="sum"))
    assert count == 4


def test_a_span_is_two_classifications_over_places():
    starts, ends = draw(2, 6), draw(2, 6) + 1
    summed, count = losses.span(starts, ends, torch.tensor([0, IGNORED]), torch.tensor([3, IGNORED]))
    expected = -starts[0].log_softmax(0)[0] - ends[0].log_softmax(0)[3]
    torch.testing.assert_close(summed, expected)
    assert count == 1


def test_regression_is_the_squared_error():
    summed, count = losses.regression(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.0]))
    assert (summed.item(), count.item()) == (10.0, 2)


@pytest.mark.parametrize("kind", ["tokens", "classification", "binary", "span"])
def test_smoothing_moves_the_best_prediction_away_from_certainty(kind):
    """With a share of s spread over K classes the loss is least at p = 1 − s + s / K for the right one."""
    share, classes = 0.3, 2

    def loss(p, smoothing):
        logit = torch.tensor(math.log(p / (1 - p)))
        pair = torch.stack([torch.tensor(0.0), logit])[None]
        one = torch.tensor([1])
        if kind == "tokens":
            return losses.tokens(pair[None], one[None], label_smoothing=smoothing)[0].item()
        if kind == "classification":
            return losses.classification(pair, one, label_smoothing=smoothing)[0].item()
        if kind == "span":
            return losses.span(pair, pair, one, one, label_smoothing=smoothing)[0].item()
        return losses.binary(logit[None], one.float(), label_smoothing=smoothing)[0].item()

    best = 1 - share + share / classes
    assert loss(0.999, 0.0) < loss(best, 0.0)
    assert loss(best, share) < min(loss(0.999, share), loss(best - 0.05, share), loss(best + 0.05, share))


def test_a_tasks_own_cross_entropy_is_smoothed_whoever_wrote_it(classify):
    recipe = classify.model_copy(update={"label_smoothing": 0.2})
    logits, labels = draw(4, 3), torch.tensor([0, 2, 1, 1])

    def loss(model, batch):
        return F.cross_entropy(logits, labels, reduction="sum"), torch.tensor(4)

    found, _ = losses.adjusted(loss, recipe)(None, None)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.2))
    torch.testing.assert_close(loss(None, None)[0], F.cross_entropy(logits, labels, reduction="sum"))


def test_smoothing_without_effect_is_an_error(classify):
    recipe = classify.model_copy(update={"label_smoothing": 0.2})
    squared = losses.adjusted(lambda model, batch: losses.regression(draw(2), draw(2)), recipe)
    with pytest.raises(RecipeError, match="label_smoothing: its loss has no cross-entropy"):
        squared(None, None)


def test_weighed_classes_count_the_same_together_and_the_loss_keeps_its_unit(classify):
    labels = torch.tensor([0, 0, 0, 2])
    weights = losses.balanced(labels, 4)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 1.0, 2.0, 1.0]))
    assert weights[labels].mean() == 1
    logits = draw(4, 4)

    def loss(model, batch):
        return F.cross_entropy(logits, labels, reduction="sum"), torch.tensor(4)

    found, _ = losses.adjusted(loss, classify, class_weights=weights)(None, None)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, reduction="sum", weight=weights))
