import pytest
import torch

from components.models.families import FAMILIES
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain
from components.training.objectives import Rows, evenly, objective_loss, objective_of, within_documents


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(["abcdefgh"], 300)


def rows_of(recipe, tokenizer, tokens, **fields):
    return Rows(tokens, tokenizer, Pretrain(**{**recipe.model_dump(), **fields}))


def numbered(count, length=9):
    """Rows that no two tokens are alike in."""
    return 10 + torch.arange(count * length).reshape(count, length)


def test_a_family_is_trained_by_what_it_is_for_unless_the_recipe_says_else(read_corpus):
    assert objective_of(read_corpus) == "causal"
    transformer = Pretrain(**{**read_corpus.model_dump(), "family": "transformer"})
    assert objective_of(transformer) == "prefix"
    assert objective_of(transformer.model_copy(update={"objective": "continuation"})) == "continuation"


def test_a_prefix_is_read_and_the_rest_is_written(read_corpus, tokenizer):
    tokens = numbered(6)
    rows = rows_of(read_corpus, tokenizer, tokens, family="transformer", batch_size=2)
    lengths = set()
    for step in range(12):
        batches = rows.batches([0, 3, 5], "mask", step)
        assert [len(b["labels"]) for b in batches] == [2, 1]
        [at] = {b["input_ids"].shape[1] for b in batches}  # one division a step, whatever the batches
        lengths.add(at)
        joined = {name: torch.cat([b[name] for b in batches]) for name in batches[0]}
        assert torch.equal(torch.cat([joined["input_ids"], joined["labels"]], 1), tokens[[0, 3, 5]])
        assert torch.equal(joined["decoder_input_ids"][:, 1:], joined["labels"][:, :-1])
        assert set(joined["decoder_input_ids"][:, 0].tolist()) == {tokenizer.eos_token_id}
    assert lengths == {1, 2, 3, 4}


def test_held_out_text_is_predicted_from_its_first_token_on_as_a_causal_family_does(read_corpus, tokenizer):
    tokens = numbered(3)
    [prefix] = rows_of(read_corpus, tokenizer, tokens, family="transformer").heldout()
    [causal] = rows_of(read_corpus, tokenizer, tokens).heldout()
    assert torch.equal(prefix["labels"], causal["labels"])


def test_half_of_the_pairs_go_on_and_the_others_are_of_another_row(read_corpus, tokenizer):
    tokens = numbered(50)
    fields = {"family": "transformer", "objective": "continuation", "batch_size": 400}
    rows = rows_of(read_corpus, tokenizer, tokens, **fields)
    chosen = torch.arange(400) % 50
    [batch] = rows.batches(chosen.tolist(), "mask", 1)
    assert torch.equal(batch["input_ids"], tokens[chosen, :4])
    goes_on = (batch["decoder_input_ids"] == tokens[chosen, 4:8]).all(1)
    assert torch.equal(goes_on, batch["labels"].bool())
    assert 0.4 < batch["labels"].mean() < 0.6
    everywhere = {tuple(row) for row in tokens[:, 4:8].tolist()}
    assert {tuple(row) for row in batch["decoder_input_ids"].tolist()} <= everywhere


def test_draws_do_not_depend_on_the_size_of_a_batch(read_corpus, tokenizer):
    for family, objective in (("transformer", "continuation"), ("transformer", "prefix"), ("bert", "masked")):
        found = []
        for size in (2, 8):
            fields = {"family": family, "objective": objective, "batch_size": size}
            batches = rows_of(read_corpus, tokenizer, numbered(8), **fields).batches(list(range(8)), "mask", 3)
            found.append({name: torch.cat([b[name] for b in batches]) for name in batches[0]})
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_document_ends_where_the_next_one_is_predicted(read_corpus, tokenizer):
    end = tokenizer.eos_token_id
    tokens = torch.tensor([[5, 6, end, 7, 8, end, 9]])
    [batch] = rows_of(read_corpus, tokenizer, tokens, document_masks=True).heldout()
    assert batch["segments"].tolist() == [[0, 0, 1, 1, 1, 2]]
    made = within_documents(batch["segments"], is_causal=True)
    assert made["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0]]
    seen = made["attention_mask"][0, 0] == 0
    assert [row.nonzero().flatten().tolist() for row in seen] == [[0], [0, 1], [2], [2, 3], [2, 3, 4], [5]]
    both = within_documents(batch["segments"], is_causal=False)["attention_mask"][0, 0] == 0
    assert both[0].nonzero().flatten().tolist() == [0, 1]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt", "gpt2", "bert"])
def test_no_token_looks_into_another_document(family, attention, read_corpus, tokenizer):
    recipe = Pretrain(**{**read_corpus.model_dump(), "family": family, "document_masks": True})
    torch.manual_seed(0)
    model = FAMILIES[family].build(recipe, 300).eval()
    model.set_attn_implementation(attention)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    segments = torch.tensor([[0, 0, 0, 1, 1, 1]])
    inputs = within_documents(segments, is_causal=family != "bert")
    one = torch.tensor([[5, 6, 7, 0, 8, 9]])
    other = torch.tensor([[15, 16, 17, 0, 8, 9]])
    a, b = (model(input_ids=ids, **inputs).logits for ids in (one, other))
    assert torch.equal(a[:, 3:], b[:, 3:])
    assert not torch.equal(a[:, :3], b[:, :3])
    alone = model(input_ids=one[:, 3:]).logits  # and it reads its own as if there were no other
    torch.testing.assert_close(a[:, 3:], alone, atol=1e-5, rtol=1e-4)


def test_a_loss_is_smoothed_only_when_asked(read_corpus, tokenizer):
    recipe = Pretrain(**{**read_corpus.model_dump(), "family": "gru", "num_heads": None})
    torch.manual_seed(0)
    model = FAMILIES["gru"].build(recipe, 300).eval()
    [batch] = Rows(numbered(4), tokenizer, recipe).heldout()
    plain, count = objective_loss(model, batch)
    smooth, same = objective_loss(model, batch, label_smoothing=0.3)
    assert count == same == 32
    assert plain != smooth


def test_rows_are_taken_evenly():
    rows = torch.arange(10)[:, None]
    assert evenly(rows, 4).flatten().tolist() == [0, 3, 6, 9]
    assert torch.equal(evenly(rows, None), rows)
    assert torch.equal(evenly(rows, 99), rows)
