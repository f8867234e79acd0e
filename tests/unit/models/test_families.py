import pytest
import torch

from components.errors import InputFileError, RecipeError
from components.models.families import FAMILIES, load_language_model
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain, parse_recipe


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


FAMILY = pytest.mark.parametrize("name", FAMILIES)


def recipe(name, **fields):
    fields = ({"context_tokens": 3} if name in {"feedforward", "ngram_gpt"} else {}) | fields
    plain = {"num_layers": 2, "hidden_size": 32, "num_steps": 1, "learning_rate": 1, "max_length_tokens": 8}
    return Pretrain(name="t", family=name, **(plain | fields))


def build(name, **fields):
    torch.manual_seed(0)
    return FAMILIES[name].build(recipe(name, **fields), 300)


def logits(model, ids):
    """(B, T, V): of an encoder–decoder, what its decoder says after the same tokens."""
    both = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    return model(input_ids=ids, **both).logits


@FAMILY
def test_a_family_says_where_it_comes_from(name):
    family = FAMILIES[name]
    assert 1980 < family.year < 2030
    assert family.paper
    assert family.parents
    assert name in Pretrain.model_fields["family"].annotation.__args__


@FAMILY
def test_a_family_is_saved_and_loaded_with_the_same_answers(name, tmp_path):
    model = build(name).eval()
    model.save_pretrained(tmp_path)
    train_bpe(["some text"], 300).save_pretrained(tmp_path)
    again, tokenizer = load_language_model(tmp_path)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(logits(model, ids), logits(again, ids))
    assert type(again) is type(model)
    assert tokenizer.encode("some") == train_bpe(["some text"], 300).encode("some")


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.objective == "causal"])
def test_a_causal_family_does_not_look_ahead(name):
    model = build(name).eval()
    with torch.no_grad():
        for p in model.parameters():  # zero-initialised projections would hide a leak
            p.add_(torch.randn_like(p) * 0.1)
    one, other = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 6, 9, 10]])
    assert torch.equal(model(input_ids=one).logits[:, :2], model(input_ids=other).logits[:, :2])
    assert not torch.equal(model(input_ids=one).logits[:, 2:], model(input_ids=other).logits[:, 2:])


def test_bert_looks_both_ways():
    model = build("bert").eval()
    one, other = (model(input_ids=torch.tensor([[5, 6, last]])).logits[:, 0] for last in (7, 8))
    assert not torch.equal(one, other)


@FAMILY
def test_dropout_has_its_effect_in_training_only(name):
    model = build(name, dropout=0.5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    ids = torch.tensor([[5, 6, 7, 8]])
    model.train()
    assert not torch.equal(logits(model, ids), logits(model, ids))
    model.eval()
    assert torch.equal(logits(model, ids), logits(model, ids))


@pytest.mark.parametrize("field", [{"num_layers": 1}, {"hidden_size": 64}])
@FAMILY
def test_depth_and_width_have_their_effect(name, field):
    other = Pretrain(**{**recipe(name).model_dump(), **field})
    assert FAMILIES[name].build(other, 300).num_parameters() != build(name).num_parameters()


def test_heads_have_their_effect_where_there_is_attention_and_are_refused_elsewhere():
    assert build("gpt", num_heads=4).config.num_attention_heads == 4
    assert recipe("gpt").attention_heads == 1
    with pytest.raises(RecipeError, match="lstm has no attention"):
        parse_recipe({**recipe("lstm").model_dump(), "num_heads": 4})
    with pytest.raises(RecipeError, match="not an even multiple"):
        parse_recipe({**recipe("gpt").model_dump(), "num_heads": 5})


def test_grouped_queries_share_keys_and_values():
    fields = {"hidden_size": 64, "num_heads": 4}
    whole, grouped = (build("gpt", **{**fields, "num_kv_heads": n}) for n in (None, 2))
    assert whole.model.layers[0].self_attn.k_proj.out_features == 64
    assert grouped.model.layers[0].self_attn.k_proj.out_features == 32
    with pytest.raises(RecipeError, match="not a multiple of num_kv_heads 3"):
        parse_recipe({**recipe("gpt", **fields).model_dump(), "num_kv_heads": 3})


@pytest.mark.parametrize("name", ["gpt", "gpt2"])
def test_both_forms_of_gpt_are_what_engines_know_without_our_code(name, tmp_path):
    """vLLM and llama.cpp go by the architecture's name; transformers needs nothing of ours to write with it."""
    import transformers

    build(name).save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.architectures == [{"gpt": "Qwen3ForCausalLM", "gpt2": "GPT2LMHeadModel"}[name]]
    assert again.generate(torch.tensor([[5, 6]]), max_new_tokens=3, do_sample=False).shape == (1, 5)


def test_gpt2_is_bound_to_its_positions_and_gpt_is_not():
    assert build("gpt2").transformer.wpe.num_embeddings == 8
    assert not [name for name, _ in build("gpt").named_parameters() if "position" in name or "wpe" in name]


@pytest.mark.parametrize(
    ("family", "field", "value"),
    [
        ("lstm", "num_kv_heads", 2),
        ("gpt2", "num_kv_heads", 2),
        ("gpt", "embedding_size", 16),
        ("gpt", "context_tokens", 4),
        ("lstm", "document_masks", True),
        ("transformer", "document_masks", True),
        ("gru", "gradient_checkpointing", True),
        ("gpt", "objective", "masked"),
        ("bert", "objective", "causal"),
        ("transformer", "objective", "causal"),
    ],
)
def test_an_option_that_the_family_does_not_have_is_refused(family, field, value):
    with pytest.raises(RecipeError, match=field):
        parse_recipe({**recipe(family).model_dump(), field: value})


def test_a_model_of_the_last_few_tokens_must_be_told_how_far_it_looks_back():
    for name in ("feedforward", "ngram_gpt"):
        with pytest.raises(RecipeError, match=f"context_tokens: {name} needs it"):
            parse_recipe({**recipe(name).model_dump(), "context_tokens": None})


def test_an_embedding_of_another_width_has_an_output_layer_of_its_own():
    """The second article's model: 10,000 × 64, an LSTM of 128, a softmax over 10,000."""
    tied, own = build("lstm"), build("lstm", hidden_size=128, embedding_size=64, num_layers=1)
    assert tied.lm_head.weight is tied.embedding.weight
    assert tuple(own.embedding.weight.shape) == (300, 64)
    assert (own.cells.input_size, own.cells.hidden_size) == (64, 128)
    assert tuple(own.lm_head.weight.shape) == (300, 128)
    assert own.lm_head.bias is not None


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputFileError, match="holds no model"):
        load_language_model(tmp_path)
