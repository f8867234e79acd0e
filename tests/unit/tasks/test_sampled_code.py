"""pass@k from answers that a model really draws."""

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.tasks.code import TASK, pass_at_k, sample, sampled_pass_at_k
from tests.benchmarks.tasks import sampled
from tests.unit.serving.tiny_models import writer

TEXTS = ["def f(x):", "def solve(equation):\n    '''Solve an equation.'''", "x"]


@pytest.fixture(scope="module")
def drawn_by(tmp_path_factory):
    """A causal model of random weights that writes two letters, x or y: always Python. And its tokenizer."""
    folder = writer(tmp_path_factory.mktemp("writer"), max_new_tokens=2)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    others = torch.full((model.config.vocab_size,), -1e4)
    others[[tokenizer.convert_tokens_to_ids(letter) for letter in "xy"]] = 0.0
    model.get_output_embeddings().register_forward_hook(lambda _, __, logits: 0.1 * logits + others)
    return model, tokenizer


def test_a_draw_is_the_same_for_the_same_seed_and_at_no_temperature_the_likeliest_answer(drawn_by):
    once = sample(*drawn_by, TEXTS, temperature=5.0, seed=1)
    assert once == sample(*drawn_by, TEXTS, temperature=5.0, seed=1)
    assert once != sample(*drawn_by, TEXTS, temperature=5.0, seed=2)
    assert sample(*drawn_by, TEXTS[::-1], temperature=1e-5, seed=3) == [
        answer.output for answer in TASK.answer(*drawn_by, TEXTS[::-1])
    ]


def test_each_row_is_judged_by_as_many_draws_as_were_asked_for(drawn_by):
    """Rows without tests are right where the tree is the target's, so that nothing has to run."""
    said = [sample(*drawn_by, TEXTS, temperature=0.6, seed=seed) for seed in range(4)]
    targets = [said[2][0], said[0][1], "another = 'program'"]
    frame = pd.DataFrame({"id": ["a", "b", "c"], "text": TEXTS, "target": targets, "tests": ""})
    found = sampled_pass_at_k(*drawn_by, frame, num_samples=4, ks=(1, 2, 4))
    counts = [sum(one[row] == targets[row] for one in said) for row in range(3)]
    assert counts[0] >= 1 and counts[1] >= 1 and counts[2] == 0
    assert found[1] == [count / 4 for count in counts]
    assert found[2] == [pass_at_k(4, count, 2) for count in counts]
    assert found[4] == [1, 1, 0]


def test_the_benchmark_gives_pass_at_1_and_at_k_with_their_intervals(drawn_by):
    frame = pd.DataFrame({"id": ["a", "b"], "text": TEXTS[:2], "target": ["another = 1", "another = 2"], "tests": ""})
    found = sampled(*drawn_by, frame, k=2)
    assert found == {"num_samples": 4, "drawn_pass_at_1": [0, 0, 0], "drawn_pass_at_2": [0, 0, 0]}
