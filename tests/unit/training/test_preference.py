import math

import pytest
import torch
import transformers

from components.tasks.base import IGNORED
from components.training.preference import answer_logprobs, dpo, kto, reference_point

ZERO = torch.zeros(1)


def policy():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return transformers.LlamaForCausalLM(config).eval()


def batch(rows):
    """(prompt, answer) pairs, padded on the left."""
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, mask, labels = [], [], []
    for prompt, answer in rows:
        space = length - len(prompt) - len(answer)
        ids.append([0] * space + prompt + answer)
        mask.append([0] * space + [1] * (len(prompt) + len(answer)))
        labels.append([IGNORED] * (space + len(prompt)) + answer)
    names = ("input_ids", "attention_mask", "labels")
    return dict(zip(names, map(torch.tensor, (ids, mask, labels)), strict=True))


def test_an_answers_probability_is_the_product_of_its_tokens_and_of_no_others():
    model = policy()
    [found] = answer_logprobs(model, batch([([3, 4], [5, 6])]))
    logprobs = model(input_ids=torch.tensor([[3, 4, 5, 6]])).logits[0].log_softmax(-1)
    torch.testing.assert_close(found, logprobs[1, 5] + logprobs[2, 6])


def test_dpo_begins_at_the_logarithm_of_two_and_is_its_equation():
    same = torch.tensor([-3.0, -7.0])
    loss, pairs = dpo(same, same - 1, same, same - 1, beta=0.1)
    assert loss.item() == pytest.approx(2 * math.log(2))
    assert pairs == 2
    loss, _ = dpo(torch.tensor([-2.0]), torch.tensor([-9.0]), torch.tensor([-3.0]), torch.tensor([-5.0]), beta=0.5)
    assert loss.item() == pytest.approx(-math.log(1 / (1 + math.exp(-0.5 * ((-2 + 3) - (-9 + 5))))))


def test_dpos_step_is_larger_where_the_model_is_wrong():
    """Its gradient weighs a pair by σ of how much it is the wrong way round (Rafailov et al. 2023, §4)."""
    gradients = []
    for margin in (-20.0, 20.0):
        chosen = torch.tensor([margin], requires_grad=True)
        dpo(chosen, ZERO, ZERO, ZERO, beta=0.1)[0].backward()
        gradients.append(-chosen.grad.item())
    assert gradients == pytest.approx([0.1 / (1 + math.exp(-2)), 0.1 / (1 + math.exp(2))])


def test_beta_has_its_effect_in_both():
    one, other = (dpo(ZERO + 1, ZERO, ZERO, ZERO, beta=beta)[0] for beta in (0.1, 0.5))
    assert one > other
    good = torch.tensor([True])
    one, other = (kto(ZERO + 1, ZERO, good, point=ZERO[0], beta=beta)[0] for beta in (0.1, 0.5))
    assert one > other


@pytest.mark.parametrize("is_good", [True, False])
def test_kto_wants_more_of_the_good_and_less_of_the_bad_and_has_enough_at_some_time(is_good):
    def slope(reward):
        answers = torch.tensor([reward], requires_grad=True)
        kto(answers, ZERO, torch.tensor([is_good]), point=torch.tensor(0.0), beta=1.0)[0].backward()
        return answers.grad.item()

    sign = -1 if is_good else 1
    assert slope(0.0) == pytest.approx(sign * 0.25)
    assert abs(slope(5.0)) < 0.05 * abs(slope(0.0)) > abs(slope(-5.0))


def test_kto_weighs_and_counts_and_measures_from_the_point():
    answers, good = torch.tensor([2.0, 2.0]), torch.tensor([True, False])
    loss, count = kto(answers, torch.zeros(2), good, point=torch.tensor(2.0), beta=1.0, weight_good=3.0, weight_bad=4.0)
    assert loss.item() == pytest.approx(3.0 * 0.5 + 4.0 * 0.5)
    assert count == 2


def test_the_point_is_never_below_zero_and_carries_no_gradient():
    moved = torch.tensor([-1.0, 4.0], requires_grad=True)
    found = reference_point(moved, torch.tensor([-3.0, 2.0]))
    assert found.item() == 2.0
    assert not found.requires_grad
    assert reference_point(torch.tensor([-5.0]), torch.tensor([0.0])) == 0


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_model_comes_to_prefer_what_people_prefer(method):
    model, reference = policy(), policy()
    good = batch([([3, 4], [5, 6]), ([7], [8, 9, 1])])
    bad = batch([([3, 4], [6, 5]), ([7], [1, 9, 8])])
    with torch.no_grad():
        before = [answer_logprobs(reference, rows) for rows in (good, bad)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        now = [answer_logprobs(model, rows) for rows in (good, bad)]
        if method == "dpo":
            loss, count = dpo(*now, *before, beta=0.1)
        else:
            thumbs = torch.tensor([True, True, False, False])
            loss, count = kto(torch.cat(now), torch.cat(before), thumbs, point=torch.tensor(0.0), beta=0.1)
        (loss / count).backward()
        optimizer.step()
    with torch.no_grad():
        gains = [answer_logprobs(model, rows) - old for rows, old in zip((good, bad), before, strict=True)]
    assert (gains[0] > gains[1] + 1).all()
