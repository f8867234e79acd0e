"""What models that are no transformers carry along: token by token as in one piece, in a batch as alone."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import Cache, DynamicCache

from components.models.carried import Carried, carried
from components.models.families import FAMILIES
from components.models.pretrained import load_trained
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain
from components.tasks import get_task

ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]
MORE = torch.tensor([[20, 21], [22, 23], [24, 25]])
FAMILY = pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "feedforward", "ngram_gpt"])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name, **fields):
    context = {"context_tokens": 3} if name in {"feedforward", "ngram_gpt"} else {}
    shape = {"num_layers": 2, "hidden_size": 32, "num_steps": 1, "learning_rate": 1, "max_length_tokens": 64}
    torch.manual_seed(0)
    model = FAMILIES[name].build(Pretrain(name="t", family=name, **(shape | context | fields)), 300).eval()
    with torch.no_grad():
        for p in model.parameters():  # as drawn, some begin as the identity
            p.add_(torch.randn_like(p) * 0.2)
    return model.requires_grad_(False)


def left():
    """The rows padded on the left with a token that means something elsewhere: ids, mask, positions."""
    length = max(map(len, ROWS))
    ids = torch.tensor([[9] * (length - len(row)) + row for row in ROWS])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in ROWS])
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def logits(model, **inputs):
    out = model.base_model(**inputs)
    return model.get_output_embeddings()(out.last_hidden_state), out.past_key_values


@FAMILY
def test_token_by_token_a_model_says_what_it_says_of_the_whole_row(name):
    model, cache, said = build(name), None, []
    for token in ROWS[0]:
        out = model(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        said.append(out.logits[0, 0])
    torch.testing.assert_close(torch.stack(said), model(input_ids=torch.tensor(ROWS[:1])).logits[0])


@FAMILY
def test_rows_of_unequal_length_are_read_and_go_on_as_each_alone(name):
    model = build(name)
    ids, mask, positions = left()
    alone = [
        model(input_ids=torch.tensor([row + more.tolist()])).logits[0] for row, more in zip(ROWS, MORE, strict=True)
    ]
    together, _ = logits(model, input_ids=ids, attention_mask=mask)
    read, cache = logits(model, input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    mask = torch.cat([mask, mask.new_ones(MORE.shape)], 1)
    after, _ = logits(model, input_ids=MORE, attention_mask=mask, past_key_values=cache, use_cache=True)
    for i, (row, own) in enumerate(zip(ROWS, alone, strict=True)):
        torch.testing.assert_close(together[i, -len(row) :], own[: len(row)])
        torch.testing.assert_close(read[i, -len(row) :], own[: len(row)])
        torch.testing.assert_close(after[i], own[len(row) :])


@FAMILY
def test_padding_on_the_left_gets_no_gradient(name):
    model = build(name).requires_grad_(True)
    ids, mask, _ = left()
    hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    hidden[1, -2:, 0].sum().backward()  # the shortest row, whose tokens are 12 and 13
    touched = model.get_input_embeddings().weight.grad.abs().sum(1).nonzero().flatten() % 300
    assert set(touched.tolist()) == {12, 13}


@FAMILY
def test_transformers_own_generation_writes_the_same_with_a_cache_and_without(name):
    model = build(name)
    ids, mask, _ = left()
    how = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    batch = model.generate(input_ids=ids, attention_mask=mask, **how)
    assert torch.equal(batch, model.generate(input_ids=ids, attention_mask=mask, use_cache=False, **how))
    for i, row in enumerate(ROWS):
        alone = model.generate(input_ids=torch.tensor([row]), **how)
        assert alone[0, len(row) :].tolist() == batch[i, -6:].tolist()


@pytest.mark.parametrize("name", ["feedforward", "ngram_gpt"])
def test_a_context_of_one_token_carries_nothing_and_still_goes_on(name):
    model = build(name, context_tokens=1)
    out = model(input_ids=torch.tensor(ROWS[:1]), use_cache=True)
    assert carried(out.past_key_values).states[0].shape[1] == 0
    after = model(input_ids=MORE[:1], past_key_values=out.past_key_values, use_cache=True).logits
    whole = model(input_ids=torch.tensor([ROWS[0] + MORE[0].tolist()])).logits
    torch.testing.assert_close(after, whole[:, -2:])


@pytest.mark.parametrize("name", ["feedforward", "ngram_gpt"])
def test_a_row_does_not_go_on_after_padding(name):
    with pytest.raises(ValueError, match="after padding"):
        build(name)(input_ids=torch.tensor([[5, 6, 0]]), attention_mask=torch.tensor([[1, 1, 0]]), use_cache=True)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_the_state_of_a_row_is_that_of_its_last_token_wherever_padding_stands(name):
    model = build(name)
    ids, mask = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    out = model(input_ids=ids, attention_mask=mask, use_cache=True)
    alone = model(input_ids=ids[:1, :2], use_cache=True)
    for mine, own in zip(carried(out.past_key_values).states, carried(alone.past_key_values).states, strict=True):
        torch.testing.assert_close(mine[:1], own)


@FAMILY
def test_a_trained_folder_is_loaded_to_write_with_its_longest_answer(name, tmp_path):
    from transformers import GenerationConfig

    model = build(name)
    model.generation_config = GenerationConfig(max_new_tokens=7)
    model.save_pretrained(tmp_path)
    train_bpe(["some text"], 300).save_pretrained(tmp_path)
    again, _ = load_trained(tmp_path, task=get_task("generation"))
    assert type(again) is type(model)
    assert again.generation_config.max_new_tokens == 7
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path)) is type(model)


def test_rows_are_chosen_as_in_any_of_transformers_caches():
    cache = Cache(layers=[Carried(torch.arange(6).view(3, 2), torch.arange(3))])
    cache.reorder_cache(torch.tensor([2, 0]))
    assert [state.tolist() for state in carried(cache).states] == [[[4, 5], [0, 1]], [2, 0]]


def test_a_cache_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="no cache of this model"):
        build("gru")(input_ids=torch.tensor([[5]]), past_key_values=DynamicCache(), use_cache=True)
