import pytest
import torch
from torch import nn

from components.models.transformer import (
    Decoder,
    Encoder,
    MultiHeadAttention,
    TransformerConfig,
    TransformerForConditionalGeneration,
    TransformerForSequenceClassification,
    attention,
    positions,
    register,
)
from components.tasks.base import IGNORED

WIDTH, HEADS = 16, 4


def config(**fields):
    plain = {"vocab_size": 50, "d_model": WIDTH, "num_heads": HEADS, "num_layers": 2, "feedforward_size": 24}
    special = {"dropout": 0.0, "pad_token_id": 1, "eos_token_id": 49, "decoder_start_token_id": 2}
    return TransformerConfig(**(plain | special | fields))


def writer(**fields):
    torch.manual_seed(0)
    return TransformerForConditionalGeneration(config(**fields)).eval()


IDS, MASK = torch.tensor([[5, 6, 7, 8], [9, 10, 1, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


# ---------------------------------------------------------------- attention, against PyTorch's


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_pytorchs_scaled_dot_product(masked):
    torch.manual_seed(1)
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 6)
    mask = torch.rand(2, 1, 5, 7) < 0.6 if masked else None
    if mask is not None:
        mask[..., 0] = True  # a query that may look nowhere has no answer
    expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attention(q, k, v, mask=mask), expected)


def test_attention_is_its_equation():
    q, k, v = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), torch.tensor([[7.0], [8.0]])
    weights = torch.tensor([11.0, 17.0]).div(2**0.5).softmax(0)
    torch.testing.assert_close(attention(q, k, v), (weights @ v)[None])


def test_dropped_weights_leave_a_share_of_the_values():
    torch.manual_seed(0)
    ones = torch.ones(1, 4000, 1)
    found = attention(torch.zeros(1, 1, 1), torch.zeros(1, 4000, 1), ones, dropout=0.25)
    assert found.item() == pytest.approx(1.0, abs=0.05)
    assert found.item() != 1.0


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_many_heads_are_pytorchs_multi_head_attention(implementation):
    torch.manual_seed(2)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    ours = MultiHeadAttention(config(attn_implementation=implementation)).eval()
    copy_attention(ours, theirs)
    hidden, source = torch.randn(2, 3, WIDTH), torch.randn(2, 5, WIDTH)
    padding = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    expected, _ = theirs(hidden, source, source, key_padding_mask=~padding)
    torch.testing.assert_close(ours(hidden, source, padding[:, None, None]), expected)


# ---------------------------------------------------------------- the stacks, against PyTorch's


def copy_attention(ours, theirs):
    with torch.no_grad():
        for part, w, b in zip(
            (ours.query, ours.key, ours.value),
            theirs.in_proj_weight.chunk(3),
            theirs.in_proj_bias.chunk(3),
            strict=True,
        ):
            part.weight.copy_(w)
            part.bias.copy_(b)
        ours.out.load_state_dict(theirs.out_proj.state_dict())


def copy_layer(ours, theirs, *, is_decoder):
    copy_attention(ours.self_attention, theirs.self_attn)
    pairs = [(ours.self_norm, theirs.norm1), (ours.inner, theirs.linear1), (ours.outer, theirs.linear2)]
    if is_decoder:
        copy_attention(ours.cross_attention, theirs.multihead_attn)
        pairs += [(ours.cross_norm, theirs.norm2), (ours.inner_norm, theirs.norm3)]
    else:
        pairs += [(ours.inner_norm, theirs.norm2)]
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())


@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_and_decoder_are_pytorchs(norm_first):
    torch.manual_seed(3)
    cfg = config(norm_first=norm_first)
    embedding = nn.Embedding(cfg.vocab_size, WIDTH)
    encoder, decoder = (
        Encoder(cfg, embedding, is_decoder=False).eval(),
        Decoder(cfg, embedding, is_decoder=True).eval(),
    )
    shape = {"d_model": WIDTH, "nhead": HEADS, "dim_feedforward": cfg.feedforward_size, "norm_first": norm_first}
    theirs = nn.Transformer(num_encoder_layers=2, num_decoder_layers=2, dropout=0.0, batch_first=True, **shape).eval()
    if not norm_first:  # PyTorch's ends in one more norm, which the paper does not have
        theirs.encoder.norm = theirs.decoder.norm = None
    for mine, other in zip(encoder.layers, theirs.encoder.layers, strict=True):
        copy_layer(mine, other, is_decoder=False)
    for mine, other in zip(decoder.layers, theirs.decoder.layers, strict=True):
        copy_layer(mine, other, is_decoder=True)
    with torch.no_grad():
        source = encoder(IDS, MASK).last_hidden_state
        ours = decoder(IDS, source, MASK)
        expected = theirs(
            encoder.embed(IDS),
            decoder.embed(IDS),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(4),
            src_key_padding_mask=MASK == 0,
            memory_key_padding_mask=MASK == 0,
        )
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_positions_are_the_papers_sinusoids():
    found = positions(3, 5, 6, device=torch.device("cpu"))
    assert found.shape == (2, 6)
    for row, p in enumerate((3, 4)):
        for i in range(3):
            angle = torch.tensor(p / 10_000 ** (2 * i / 6))
            torch.testing.assert_close(found[row, 2 * i : 2 * i + 2], torch.stack([angle.sin(), angle.cos()]))


# ---------------------------------------------------------------- writing


def test_padding_of_the_input_changes_nothing():
    model = writer()
    start = torch.full((1, 3), 7)
    alone = model(IDS[1:, :2], decoder_input_ids=start).logits
    padded = model(IDS[1:], MASK[1:], decoder_input_ids=start).logits
    torch.testing.assert_close(alone, padded)


def test_the_decoder_does_not_look_ahead_and_sees_the_whole_input():
    model = writer()
    one, other = torch.tensor([[2, 5, 6]]), torch.tensor([[2, 5, 9]])
    a, b = (model(IDS[:1], decoder_input_ids=ids).logits for ids in (one, other))
    assert torch.equal(a[:, :2], b[:, :2])
    changed = IDS[:1].clone()
    changed[0, -1] = 30
    assert not torch.equal(model(changed, decoder_input_ids=one).logits[:, 0], a[:, 0])


def test_labels_are_shifted_for_the_decoder_and_padding_carries_no_loss():
    model = writer()
    labels = torch.tensor([[5, 6, 49], [7, 49, IGNORED]])
    assert model.prepare_decoder_input_ids_from_labels(labels).tolist() == [[2, 5, 6], [2, 7, 49]]
    out = model(IDS, MASK, labels=labels)
    logprobs = out.logits.log_softmax(-1)
    picked = [logprobs[r, t, labels[r, t]] for r, t in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))]
    torch.testing.assert_close(out.loss, -torch.stack(picked).mean())


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_is_greedy_with_a_cache_or_without(use_cache):
    model = writer(tie_word_embeddings=False)  # tied, an untrained model says one token over and over
    with torch.no_grad():
        model.lm_head.weight.normal_()
    written = torch.full((2, 1), 2)
    for _ in range(6):
        following = model(IDS, MASK, decoder_input_ids=written).logits[:, -1].argmax(-1, keepdim=True)
        written = torch.cat([written, following], 1)
    assert len(set(written[0].tolist())) > 2  # the same token each time would hide a wrong cache
    options = {"max_new_tokens": 6, "do_sample": False, "use_cache": use_cache, "eos_token_id": None}
    assert torch.equal(model.generate(IDS, attention_mask=MASK, **options), written)


def test_it_learns_to_copy_in_reverse():
    """A task that needs attention to the input's places."""
    torch.manual_seed(0)
    model = writer(d_model=32, feedforward_size=64, num_layers=1).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3)
    for _ in range(180):
        ids = torch.randint(5, 20, (32, 4))
        optimizer.zero_grad()
        model(ids, labels=ids.flip(1)).loss.backward()
        optimizer.step()
    ids = torch.randint(5, 20, (50, 4))
    found = model.eval().generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=None)[:, 1:]
    assert (found == ids.flip(1)).float().mean() > 0.95


def test_the_way_of_attention_can_be_changed_and_gives_the_same():
    model = writer()
    found = []
    for name in ("eager", "sdpa"):
        model.set_attn_implementation(name)
        assert model.encoder.layers[0].self_attention.config._attn_implementation == name
        found.append(model(IDS, MASK, decoder_input_ids=IDS).logits)
    torch.testing.assert_close(*found)
    assert not torch.equal(*found)  # another kernel, another rounding


def test_neither_text_nor_labels_for_the_decoder_is_an_error():
    with pytest.raises(ValueError, match="decoder_input_ids or labels"):
        writer()(IDS)


# ---------------------------------------------------------------- judging, and the Hub's format


def test_a_pair_is_judged_by_the_last_token_that_is_not_padding():
    torch.manual_seed(0)
    model = TransformerForSequenceClassification(config(num_labels=3)).eval()
    alone = model(IDS[:1], decoder_input_ids=IDS[1:, :2]).logits
    padded = model(IDS[:1], decoder_input_ids=IDS[1:], decoder_attention_mask=MASK[1:]).logits
    assert alone.shape == (1, 3)
    torch.testing.assert_close(alone, padded)
    assert not torch.equal(alone, model(IDS[:1]).logits)


def test_transformers_auto_classes_load_both_heads(tmp_path):
    from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    register()
    register()
    model = writer()
    model.save_pretrained(tmp_path / "writes")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "writes").eval()
    assert again.lm_head.weight is again.embedding.weight is again.decoder.embedding.weight
    start = IDS[:, :1]
    assert torch.equal(again(IDS, MASK, start).logits, model(IDS, MASK, start).logits)
    judge = TransformerForSequenceClassification(config(num_labels=3)).eval()
    judge.save_pretrained(tmp_path / "judges")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "judges").eval()
    assert torch.equal(loaded(IDS, MASK).logits, judge(IDS, MASK).logits)
