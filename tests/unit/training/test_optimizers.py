import pytest
import torch
import transformers

from components.errors import RecipeError
from components.recipes import parse_recipe
from components.training import optimizers


def model():
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=3
    )
    return transformers.BertForSequenceClassification(config)


def names(network, optimizer):
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {name for name, p in network.named_parameters() if id(p) in held}


def test_muon_takes_the_inner_matrices_and_adamw_the_rest(classify):
    network = model()
    muon, adamw = optimizers.build(network, classify.model_copy(update={"optimizer": "muon"}))
    assert isinstance(muon, torch.optim.Muon)
    assert "bert.encoder.layer.0.intermediate.dense.weight" in names(network, muon)
    assert not {"classifier.weight", "bert.embeddings.word_embeddings.weight"} & names(network, muon)
    assert names(network, muon) | names(network, adamw) == {name for name, _ in network.named_parameters()}
    assert not names(network, muon) & names(network, adamw)


def test_muons_step_is_orthogonal_as_newton_and_schulz_make_it(classify):
    """All singular values of the step are near one another, whatever those of the gradient are."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 6, bias=False)
    network = torch.nn.ModuleDict({"inner": layer})
    network.get_input_embeddings = network.get_output_embeddings = lambda: None
    recipe = classify.model_copy(update={"optimizer": "muon", "weight_decay": 0.0, "learning_rate": 1.0})
    [muon] = optimizers.build(network, recipe)
    u, v = torch.linalg.qr(torch.randn(6, 6))[0], torch.linalg.qr(torch.randn(8, 8))[0]
    layer.weight.grad = u @ torch.diag(torch.tensor([9.0, 5.0, 3.0, 1.0, 0.5, 0.3])) @ v[:6]
    before = layer.weight.detach().clone()
    muon.step()
    sizes = torch.linalg.svdvals(before - layer.weight.detach())
    assert sizes.max() / sizes.min() < 2  # of the gradient: 30


def test_each_name_is_its_own_optimizer(classify):
    network = model()
    found = {}
    for fields in ({"optimizer": "adamw"}, {"optimizer": "adam"}, {"optimizer": "sgd"}):
        [one] = optimizers.build(network, classify.model_copy(update=fields))
        found[fields["optimizer"]] = type(one)
    assert found == {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    [plain] = optimizers.build(network, classify.model_copy(update={"optimizer": "sgd"}))
    [heavy] = optimizers.build(network, classify.model_copy(update={"optimizer": "sgd", "momentum": 0.8}))
    assert (plain.defaults["momentum"], heavy.defaults["momentum"]) == (0.0, 0.8)


def test_weight_decay_is_for_matrices_only(classify):
    network = model()
    [adamw] = optimizers.build(network, classify.model_copy(update={"weight_decay": 0.3}))
    decays = {p.ndim: group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
    assert decays == {2: 0.3, 1: 0.0}


def test_frozen_weights_are_left_out(classify):
    network = model()
    network.bert.requires_grad_(False)
    [sgd] = optimizers.build(network, classify.model_copy(update={"optimizer": "sgd"}))
    assert names(network, sgd) == {"classifier.weight", "classifier.bias"}


def test_what_muon_leaves_to_adamw_may_have_a_rate_of_its_own(classify):
    fields = {"optimizer": "muon", "learning_rate": 0.01}
    one = optimizers.build(model(), classify.model_copy(update=fields))
    two = optimizers.build(model(), classify.model_copy(update=fields | {"table_learning_rate": 0.03}))
    assert [o.param_groups[0]["initial_lr"] for o in one] == [0.01, 0.01]
    assert [o.param_groups[0]["initial_lr"] for o in two] == [0.01, 0.03]
    with pytest.raises(RecipeError, match="table_learning_rate: adamw has one rate"):
        parse_recipe({**classify.model_dump(), "table_learning_rate": 0.03})
