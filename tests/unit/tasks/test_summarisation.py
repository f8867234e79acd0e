import math

import pandas as pd
import pytest
import torch
import transformers

from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks.base import IGNORED, Answer
from components.tasks.summarisation import TASK

RECIPE = Finetune(
    name="t",
    task="summarisation",
    table="t",
    base="b",
    num_steps=1,
    learning_rate=1,
    max_length_tokens=40,
    max_new_tokens=6,
)


@pytest.fixture(scope="module")
def tokenizer():
    found = train_bpe([TASK.template, "Return the sum."] * 3, 300)
    found.model_max_length = 40
    return found


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        initializer_range=0.5,
    )
    found = transformers.LlamaForCausalLM(config).eval()
    found.generation_config = transformers.GenerationConfig(max_new_tokens=6, eos_token_id=tokenizer.eos_token_id)
    return found


def rows(tokenizer, texts, targets):
    return TASK.rows(pd.DataFrame({"text": texts, "target": targets}), tokenizer, RECIPE, [])


def test_only_the_target_and_the_end_carry_loss(tokenizer):
    [row] = rows(tokenizer, ["def f(): ..."], ["Sum."])
    said = [number for number in row["labels"] if number != IGNORED]
    assert tokenizer.decode(said[:-1]) == " Sum."
    assert said[-1] == tokenizer.eos_token_id
    assert row["input_ids"][-len(said) :] == said
    assert len(row["input_ids"]) == len(row["labels"])


def test_a_long_text_loses_its_end_and_the_question_stays(tokenizer):
    [prompt] = TASK.prompts(["x " * 500], tokenizer)
    assert len(prompt) == 40
    assert tokenizer.decode(prompt).endswith(TASK.template.split("{text}")[1])


def test_a_text_that_spells_a_special_token_cannot_end_the_prompt(tokenizer):
    [prompt] = TASK.prompts([f"a {tokenizer.eos_token} b"], tokenizer)
    assert not set(prompt) & set(tokenizer.all_special_ids)


def test_a_target_that_is_too_long_is_cut_and_still_ends(tokenizer):
    [row] = rows(tokenizer, ["x"], ["Return the sum of all of these numbers."])
    said = [number for number in row["labels"] if number != IGNORED]
    assert len(said) == RECIPE.max_new_tokens
    assert said[-1] == tokenizer.eos_token_id


def test_the_loss_is_that_of_each_row_alone_without_padding(tokenizer, model):
    examples = rows(tokenizer, ["x", "a much longer text than that"], ["Sum.", "Return the sum."])
    total, count = TASK.loss(model, TASK.collate(examples, tokenizer.pad_token_id))
    alone = 0.0
    for example in examples:
        out = model(input_ids=torch.tensor([example["input_ids"]]), labels=torch.tensor([example["labels"]]))
        alone += out.loss.item() * sum(number != IGNORED for number in example["labels"])
    assert total.item() == pytest.approx(alone, rel=1e-4)
    assert int(count) == sum(number != IGNORED for example in examples for number in example["labels"])


def test_answers_are_those_of_generate_alone_or_together(tokenizer, model):
    texts = ["x", "def f(a, b):\n    return a + b", "sum of it"]
    together = TASK.answer(model, tokenizer, texts)
    for text, answer in zip(texts, together, strict=True):
        [alone] = TASK.answer(model, tokenizer, [text])
        assert alone.output == answer.output
        assert alone.confidence == pytest.approx(answer.confidence, rel=1e-4)
        prompt = torch.tensor([TASK.prompts([text], tokenizer)[0]])
        ids = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False)[0, prompt.shape[1] :]
        line = tokenizer.decode(ids, skip_special_tokens=True).strip().split("\n")[0].strip()
        assert answer.output == line


def test_confidence_is_the_mean_probability_of_what_was_said(tokenizer, model):
    [answer] = TASK.answer(model, tokenizer, ["x"])
    assert 0 < answer.confidence < 1
    assert not math.isnan(answer.confidence)
    assert answer.alternatives == ()


def test_rouge_l_is_the_longest_common_subsequence_of_stems():
    frame = pd.DataFrame({"id": ["1"], "text": ["nodes"], "target": ["Returns the sorted nodes"]})
    # stems "return the node": all 3 in order, of 3 said and 4 wanted: F1 = 2 · 1 · 0.75 / 1.75
    scored = TASK.score([Answer("Return the node", 1.0)], frame)
    assert scored["score"].tolist() == pytest.approx([2 * 0.75 / 1.75])


def test_the_lead_of_code_is_its_first_line():
    train = pd.DataFrame({"id": ["a"], "text": ["def f(x):\n    return x"], "target": ["f of x"]})
    test = pd.DataFrame({"id": ["1"], "text": ["def degree(nodes):\n    y = 1\n    return y"], "target": ["Degree."]})
    assert TASK.baseline(train, test, [])["prediction"].tolist() == ["def degree(nodes):"]


@pytest.mark.parametrize("n", [1, 2])
def test_the_baseline_is_lead_n_where_training_rows_begin_with_their_summary(n):
    sentences = [[f"Graph {i} is sorted in 2.5 s.", f"It is fast {i}!", "Nobody knows."] for i in range(4)]
    texts, said = [" ".join(some) for some in sentences], [" ".join(some[:n]) for some in sentences]
    train = pd.DataFrame({"id": list("abcd"), "text": texts, "target": said})
    test = pd.DataFrame({"id": ["1"], "text": ["We write 3.5 times. It is slow! Other."], "target": ["We write."]})
    lead = ["We write 3.5 times.", "It is slow!"][:n]
    assert TASK.baseline(train, test, [])["prediction"].tolist() == [" ".join(lead)]


def test_a_summary_is_as_faithful_as_its_names_and_numbers_are_in_the_text():
    from components.tasks.summarisation import faithfulness

    text = "def shortest_path(graph):\n    return DiGraph(graph).walk(0.85)"
    assert faithfulness(text, "Return the walk of a DiGraph with 0.85.") == 1
    assert faithfulness(text, "Call shortest_path on a MultiGraph.") == 0.5
    assert faithfulness(text, "Written by Ada in 1843.") == 0
    assert math.isnan(faithfulness(text, "Find the shortest path."))


def test_figures_have_rouge_lengths_and_faithfulness():
    rows = pd.DataFrame({"id": ["1", "2"], "text": ["f(x)"] * 2, "target": ["one two three", "one two three"]})
    scored = TASK.score([Answer("one two three", 0.5), Answer("one two three four five six MaxIter", 0.5)], rows)
    found = TASK.figures(scored)
    assert found["rouge1"] == pytest.approx((1 + 0.6) / 2)
    assert found["length_ratio"] == pytest.approx((1 + 7 / 3) / 2)
    assert found["entity_faithfulness"] == 0
