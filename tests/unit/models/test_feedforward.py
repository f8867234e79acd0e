import torch

from components.models.feedforward import FeedForwardConfig, FeedForwardLanguageModel


def model(**fields):
    torch.manual_seed(0)
    config = FeedForwardConfig(vocab_size=20, context_size=3, embedding_size=4, hidden_size=8, **fields)
    return FeedForwardLanguageModel(config).eval()


def test_it_is_the_equation_of_the_paper():
    """y = b + U tanh(d + H x), x being the embeddings of the last three tokens, the oldest first."""
    net, ids = model(), torch.tensor([5, 6, 7, 8])
    x = net.embedding.weight[ids[1:]].flatten()
    y = net.lm_head.weight @ torch.tanh(net.hidden[0].weight @ x + net.hidden[0].bias) + net.lm_head.bias
    torch.testing.assert_close(net(input_ids=ids[None]).logits[0, -1], y)


def test_it_sees_so_many_tokens_and_no_more():
    net = model()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    same, other = ids.clone(), ids.clone()
    same[0, 1], other[0, 2] = 1, 1
    last = net(input_ids=ids).logits[0, -1]
    assert torch.equal(net(input_ids=same).logits[0, -1], last)
    assert not torch.equal(net(input_ids=other).logits[0, -1], last)


def test_before_the_first_token_stands_a_learned_vector():
    net = model()
    before = net(input_ids=torch.tensor([[5]])).logits
    with torch.no_grad():
        net.start.weight.add_(1.0)
    assert not torch.equal(net(input_ids=torch.tensor([[5]])).logits, before)
