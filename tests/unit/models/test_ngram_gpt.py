import pytest
import torch

from components.models.ngram_gpt import NgramGptConfig, NgramGptLanguageModel, rotated


def model(**fields):
    torch.manual_seed(0)
    plain = {"vocab_size": 20, "context_size": 3, "hidden_size": 16, "intermediate_size": 32}
    net = NgramGptLanguageModel(NgramGptConfig(**(plain | fields))).eval()
    with torch.no_grad():
        for p in net.parameters():  # as drawn, the blocks are the identity and every logit is zero
            p.add_(torch.randn_like(p) * 0.1)
    return net


def test_what_goes_in_at_a_place_is_a_sum_over_the_last_tokens_by_their_distance():
    net, ids = model(), torch.tensor([[5, 6, 7]])
    now, before, earlier = net.embedding.weight.split(20)
    expected = torch.stack([now[5], now[6] + before[5], now[7] + before[6] + earlier[5]])
    torch.testing.assert_close(net._embedded(ids)[0], expected)
    torch.testing.assert_close(net._embedded(ids[:, :1])[0], expected[:1])  # a row that is shorter than the context


def test_every_block_begins_as_the_identity_and_the_output_at_zero():
    torch.manual_seed(0)
    net = NgramGptLanguageModel(NgramGptConfig(vocab_size=20, hidden_size=16, intermediate_size=32))
    for block in net.blocks:
        assert not block.out.weight.any()
        assert not block.outer.weight.any()
        assert block.query.weight.any()
    assert not net(input_ids=torch.tensor([[5, 6]])).logits.any()
    assert net._embedded(torch.tensor([[5, 6, 7, 8]]))[0, 3].std().item() == pytest.approx(1, rel=0.6)


def test_without_blocks_only_the_context_counts_and_with_them_the_whole_row():
    far, other = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[9, 6, 7, 8]])  # differ beyond the context of 3
    for net, sees in ((model(num_hidden_layers=0), False), (model(), True)):
        last = [net(input_ids=ids).logits[0, -1] for ids in (far, other)]
        assert torch.equal(*last) != sees


def test_rotation_turns_a_score_into_a_function_of_the_distance():
    net = model()
    cos, sin, mask = net._places(torch.zeros(1, 8, 16))
    assert mask[2, 2] == 0 > mask[2, 3]
    query, key = torch.randn(1, 1, 1, 8).expand(1, 1, 8, 8), torch.randn(1, 1, 1, 8).expand(1, 1, 8, 8)
    scores = (rotated(query, cos, sin) @ rotated(key, cos, sin).mT)[0, 0]
    for distance in range(-3, 4):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[0].expand_as(diagonal))
    assert scores[0, 0] != pytest.approx(scores[0, 1].item(), abs=1e-3)


def test_padding_on_the_right_changes_nothing():
    net, ids = model(), torch.tensor([[5, 6, 0]])
    whole = net(input_ids=ids, attention_mask=torch.tensor([[1, 1, 0]])).logits[:, :2]
    torch.testing.assert_close(whole, net(input_ids=ids[:, :2]).logits)
