import math

import pytest
import torch

from components.training.averaging import Averaging, Best


def network():
    return torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))


def walk(mean, params, values):
    for step, value in enumerate(values):
        with torch.no_grad():
            for p in params:
                p.fill_(value)
        mean.follow(step)


def settled(mean, params):
    mean.settle()
    return [p[0].item() for p in params]


def averaged(classify, num_steps, **fields):
    params = network()
    recipe = classify.model_copy(update=fields)
    return Averaging(params, recipe=recipe, num_steps=num_steps), params


def test_swa_is_the_even_mean_over_the_last_share_of_the_steps(classify):
    mean, params = averaged(classify, 8, averaging="swa", swa_share=0.5)
    walk(mean, params, [10, 20, 30, 40, 1, 2, 3, 6])
    assert settled(mean, params) == [3.0, 3.0]


def test_ema_forgets_and_does_not_remember_its_first_step_for_ever(classify):
    mean, params = averaged(classify, 500, averaging="ema", ema_decay=0.9)
    walk(mean, params, [100.0] + [0.0] * 20 + [1.0] * 50)
    [value, _] = settled(mean, params)
    assert value == pytest.approx(1 - 0.9**50, abs=0.02)


def test_the_mean_stands_in_and_gives_the_weights_back_to_the_bit(classify):
    mean, params = averaged(classify, 4, averaging="swa", swa_share=1.0)
    walk(mean, params, [0.1, 0.7])
    with mean.in_place():
        assert params[0][0].item() == pytest.approx(0.4)
    assert torch.equal(params[0], torch.full((2,), 0.7))


def test_before_its_first_step_the_mean_is_the_weights(classify):
    mean, params = averaged(classify, 10, averaging="swa", swa_share=0.1)
    walk(mean, params, [5.0])
    with mean.in_place():
        assert params[0][0].item() == 5.0


def test_the_best_weights_are_kept_and_patience_ends():
    params = network()
    best = Best(params, patience=2)
    for value, loss in ((1.0, 3.0), (2.0, 1.0), (3.0, 2.0)):
        with torch.no_grad():
            params[0].fill_(value)
        best.see(loss)
        assert not best.is_over
    best.see(1.0)  # no lower
    assert best.is_over
    assert best.loss == 1.0
    best.settle()
    assert params[0][0].item() == 2.0


def test_a_loss_that_is_not_a_number_is_no_better_than_any():
    params = network()
    best = Best(params, patience=1)
    best.see(math.nan)
    best.see(5.0)
    assert best.loss == 5.0
    best.see(math.nan)
    assert best.is_over
