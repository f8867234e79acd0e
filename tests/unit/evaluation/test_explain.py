"""Why an answer: what of the input mattered, by integrated gradients, on small random models of every head."""

import itertools
import json

import pandas as pd
import pytest
import torch
import transformers

from components.errors import UsageError
from components.evaluation import attribution, reading
from components.evaluation.explain import calibrated, explain
from components.models import recurrent, transformer, voting
from components.models.tokenizer import train_bpe
from components.tasks import get_task

TEXTS = ["Ada met Bob in Paris, the capital.", "the default of alpha is 0.85", "好的，明天见"]
LABELS = ["bad", "good", "neither"]


@pytest.fixture(scope="module")
def tokenizer():
    made = train_bpe(TEXTS * 3, 320)
    made.model_max_length = 48
    return made


def sizes(tokenizer, names=()):
    labels = dict(enumerate(names))
    more = {"id2label": labels, "label2id": {v: k for k, v in labels.items()}, "num_labels": len(labels)}
    return {
        "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "initializer_range": 0.3, "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    } | (more if names else {})  # fmt: skip


def encoder(kind, tokenizer, names=()):
    return kind(transformers.BertConfig(**sizes(tokenizer, names)))


def causal(tokenizer):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(num_key_value_heads=1, **sizes(tokenizer)))


def gpt2(tokenizer):
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=128)
    return transformers.GPT2LMHeadModel(config)


def encoder_decoder(tokenizer):
    config = transformer.TransformerConfig(
        vocab_size=len(tokenizer), d_model=16, num_heads=2, num_layers=2, feedforward_size=16,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return transformer.TransformerForConditionalGeneration(config)


def t5(tokenizer):
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config)


def gru(tokenizer):
    config = recurrent.RecurrentConfig(
        cell="gru", vocab_size=len(tokenizer), hidden_size=16, id2label=dict(enumerate(LABELS)), num_labels=3
    )
    return recurrent.RecurrentForSequenceClassification(config)


def classifier(tokenizer):
    return encoder(transformers.BertForSequenceClassification, tokenizer, LABELS)


def tagger(tokenizer):
    return encoder(transformers.BertForTokenClassification, tokenizer, ["O", "B-person", "I-person"])


def own(family):
    from components.models.families import FAMILIES
    from components.recipes import Pretrain

    context = {"context_tokens": 3} if family == "feedforward" else {}
    shape = {"hidden_size": 16, "num_layers": 2, "num_steps": 1, "learning_rate": 1, **context}
    return lambda tokenizer: FAMILIES[family].build(Pretrain(name="t", family=family, **shape), len(tokenizer))


MODELS = {
    "encoder classifier": ("classification", classifier),
    "recurrent classifier": ("classification", gru),
    "ensemble": ("classification", lambda t: voting.voting([classifier(t), classifier(t)])),
    "sets of labels": ("multilabel", classifier),
    "tagger": ("entities", tagger),
    "span": ("question_answering", lambda t: encoder(transformers.BertForQuestionAnswering, t)),
    "llama": ("summarisation", causal),
    "gpt2": ("generation", gpt2),
    "encoder-decoder": ("translation", encoder_decoder),
    "t5": ("summarisation", t5),
    "dialogue": ("dialogue", causal),
    "lstm": ("generation", own("lstm")),
    "feedforward": ("generation", own("feedforward")),
}


def made(kind, tokenizer):
    task, make = MODELS[kind]
    torch.manual_seed(3)
    model = make(tokenizer).eval()
    for p in model.parameters():
        p.data *= 1.0 if kind == "llama" else 1.5  # decided enough that the path is no straight line
    if model.can_generate():
        model.generation_config = transformers.GenerationConfig(
            max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
        )  # fmt: skip
    return get_task(task), model


TEXT = "What is the default of alpha?\nthe default of alpha is 0.85 in Paris, 明天"


@pytest.mark.parametrize("kind", MODELS)
def test_the_attributions_add_up_to_what_the_text_changed(kind, tokenizer):
    task, model = made(kind, tokenizer)
    found = explain(model, tokenizer, task, TEXT)
    total = sum(piece.attribution for piece in found.pieces)
    difference = found.score - found.blank_score
    assert abs(difference) > 1e-4
    assert total - difference == pytest.approx(found.completeness_error, abs=1e-4)
    assert abs(total - difference) <= attribution.TOLERANCE * max(1.0, abs(difference))


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_twice_and_the_model_is_left_as_it_was(kind, tokenizer):
    task, model = made(kind, tokenizer)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    asked = task.answer(model, tokenizer, [TEXT])
    assert explain(model, tokenizer, task, TEXT) == explain(model, tokenizer, task, TEXT)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert task.answer(model, tokenizer, [TEXT]) == asked


@pytest.mark.parametrize("kind", MODELS)
def test_pieces_are_the_texts_own_characters_and_alternatives_are_probabilities(kind, tokenizer):
    task, model = made(kind, tokenizer)
    found = explain(model, tokenizer, task, TEXT)
    assert all(TEXT[piece.start : piece.end] == piece.text for piece in found.pieces)
    assert all(a.end <= b.start for a, b in zip(found.pieces, found.pieces[1:], strict=False))
    if kind != "dialogue":  # whose rules leave no room for the text's end in so short a window
        assert any("明" in piece.text for piece in found.pieces)  # of several bytes, one piece
    assert found.alternatives
    for one in found.alternatives:
        assert one.others
        assert 0 <= one.probability <= 1
        assert [p for _, p in one.others] == sorted((p for _, p in one.others), reverse=True)


@pytest.mark.parametrize("kind", ["recurrent classifier", "encoder classifier", "ensemble", "tagger", "span"])
def test_the_token_that_decides_gets_the_largest_share(kind, tokenizer):
    """All tokens but one say next to nothing, and it stands somewhere in the text."""
    task, model = made(kind, tokenizer)
    (planted,) = tokenizer(" Paris", add_special_tokens=False)["input_ids"]
    for layer in [part for part in model.modules() if isinstance(part, torch.nn.Embedding)]:
        if len(layer.weight) == len(tokenizer):
            layer.weight.data *= 0.01
            layer.weight.data[planted] *= 400
    text = "What is it?\nAda met Bob in Paris, the capital." if kind == "span" else "Ada met Bob in Paris, the capital."
    found = explain(model, tokenizer, task, text)
    largest = max(found.pieces, key=lambda piece: abs(piece.attribution))
    assert largest.text.strip() == "Paris"
    assert abs(largest.attribution) > 0.5 * sum(abs(piece.attribution) for piece in found.pieces)


def test_a_score_is_what_the_model_itself_gives(tokenizer):
    task, model = made("encoder classifier", tokenizer)
    found = explain(model, tokenizer, task, TEXT)
    assert found.confidence == pytest.approx(torch.tensor(found.score).exp().item(), abs=1e-5)
    assert found.alternatives[0].said == found.output
    other = next(label for label in LABELS if label != found.output)
    assert explain(model, tokenizer, task, TEXT, output=other).score < found.score


def test_a_written_answers_score_is_of_the_tokens_it_wrote(tokenizer):
    task, model = made("llama", tokenizer)
    found = explain(model, tokenizer, task, TEXT, output="the capital")
    ids = tokenizer(" the capital", add_special_tokens=False)["input_ids"]
    (prompt,) = task.prompts([TEXT], tokenizer)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    assert found.score == pytest.approx(logits[range(len(ids)), ids].sum().item(), abs=1e-4)
    assert "".join(one.said for one in found.alternatives) == " the capital"


@pytest.mark.parametrize("kind", ["encoder classifier", "llama", "encoder-decoder", "t5", "span", "tagger", "gpt2"])
def test_attention_maps_come_with_their_caution_whatever_attention_the_model_computes_by(kind, tokenizer):
    task, model = made(kind, tokenizer)
    model.set_attn_implementation("sdpa" if kind != "t5" else "eager")
    before = model.config._attn_implementation
    found = explain(model, tokenizer, task, TEXT)
    assert "arXiv" in found.attention_caution
    layers = torch.tensor([piece.attention for piece in found.pieces])
    assert layers.shape[1] >= 1
    assert (layers >= 0).all()
    assert (layers.sum(0) <= 1 + 1e-4).all()
    assert layers.sum() > 0.1
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("kind", ["recurrent classifier", "ensemble"])
def test_where_there_is_no_attention_there_is_no_map(kind, tokenizer):
    task, model = made(kind, tokenizer)
    found = explain(model, tokenizer, task, TEXT)
    assert found.attention_caution == ""
    assert not any(piece.attention for piece in found.pieces)


@pytest.mark.parametrize("kind", ["encoder classifier", "llama", "recurrent classifier", "encoder-decoder"])
def test_a_model_in_bf16_is_explained_in_fp32(kind, tokenizer):
    task, model = made(kind, tokenizer)
    model = model.bfloat16()
    found = explain(model, tokenizer, task, TEXT)
    difference = found.score - found.blank_score
    assert abs(found.completeness_error) <= attribution.TOLERANCE * max(1.0, abs(difference))
    assert next(model.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_input_says_that_there_is_nothing_to_attribute_to(kind, text, tokenizer):
    task, model = made(kind, tokenizer)
    output = {"classification": "good", "entities": "[]", "question_answering": '{"answer": null}'}.get(task.name, "x")
    with pytest.raises(UsageError, match="no token"):
        explain(model, tokenizer, task, text, output=output)


@pytest.mark.parametrize("kind", MODELS)
def test_of_a_long_text_parts_are_left_out_one_at_a_time(kind, tokenizer, monkeypatch):
    monkeypatch.setattr(attribution, "MAX_GRADIENT_TOKENS", 0)
    task, model = made(kind, tokenizer)
    output = None if task.head != "generator" else "capital"
    found = explain(model, tokenizer, task, TEXT, output=output)
    assert found.method == "leaving parts out"
    assert found.num_steps == len(found.pieces) <= attribution.MAX_PARTS
    assert any(piece.attribution for piece in found.pieces)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found.pieces))
    assert all(TEXT[piece.start : piece.end] == piece.text for piece in found.pieces)


def test_where_gradients_leave_too_much_unsaid_parts_are_left_out(tokenizer, monkeypatch):
    task, model = made("encoder classifier", tokenizer)
    assert explain(model, tokenizer, task, TEXT, output="good").method == "integrated gradients"
    monkeypatch.setattr(attribution, "INCOMPLETE", 0.0)
    assert explain(model, tokenizer, task, TEXT, output="good").method == "leaving parts out"


def test_what_a_part_is_worth_is_what_the_answer_loses_without_it(tokenizer, monkeypatch):
    task, model = made("encoder classifier", tokenizer)
    by_gradients = explain(model, tokenizer, task, TEXT, output="good")
    monkeypatch.setattr(attribution, "MAX_GRADIENT_TOKENS", 0)
    monkeypatch.setattr(attribution, "MAX_PARTS", 1)
    monkeypatch.setattr(attribution, "MIN_PARTS", 1)
    (whole,) = explain(model, tokenizer, task, TEXT, output="good").pieces
    assert whole.attribution == pytest.approx(by_gradients.score - by_gradients.blank_score, abs=1e-5)


def test_parts_are_what_the_template_parts_and_the_longest_divided_where_a_sentence_begins():
    places = [None, (0, 1), (1, 2), None, *[(i, i + 1) for i in range(2, 22)], None]
    text = reading.Reading(list(range(len(places))), places)
    assert attribution.parts_of(text, 2) == [[1, 2], list(range(4, 24))]
    assert attribution.parts_of(text, 3, breaks=[10]) == [[1, 2], list(range(4, 12)), list(range(12, 24))]
    assert attribution.parts_of(text, 3, breaks=[3]) == [[1, 2], list(range(4, 14)), list(range(14, 24))]
    assert attribution.parts_of(text, 99) == [[i] for i, place in enumerate(places) if place]
    assert attribution.parts_of(text, 1) == [[i for i, place in enumerate(places) if place]]


def test_what_is_too_much_is_refused_before_any_gradient(tokenizer, monkeypatch):
    task, model = made("encoder classifier", tokenizer)
    with pytest.raises(UsageError, match="characters"):
        explain(model, tokenizer, task, "a" * 200_000, output="good")
    assert explain(model, tokenizer, task, "Paris " * 2000, output="good").pieces[-1].end < 400  # what it read
    monkeypatch.setattr(reading, "MAX_TOKENS", 8)
    with pytest.raises(UsageError, match="at most 8"):
        explain(model, tokenizer, task, "Paris " * 2000, output="good")
    monkeypatch.setattr(reading, "MAX_TOKENS", 2048)
    monkeypatch.setattr(attribution, "MAX_WORK", 1e3)
    with pytest.raises(UsageError, match="too much"):
        explain(model, tokenizer, task, TEXT, output="good")


def test_an_output_that_the_model_cannot_give_is_refused(tokenizer):
    task, model = made("encoder classifier", tokenizer)
    with pytest.raises(UsageError, match="no label"):
        explain(model, tokenizer, task, TEXT, output="purple")
    task, model = made("tagger", tokenizer)
    span = [{"start": 0, "end": 4, "text": "What", "type": "planet"}]
    with pytest.raises(UsageError, match="none that this model tags"):
        explain(model, tokenizer, task, TEXT, output=json.dumps(span))
    task, model = made("span", tokenizer)
    with pytest.raises(UsageError, match="no place"):
        explain(model, tokenizer, task, TEXT, output=json.dumps({"answer": "x", "start": 9000, "end": 9001}))


def test_an_answer_in_a_late_window_is_explained_there(tokenizer):
    task, model = made("span", tokenizer)
    text = "What is the default of alpha?\n" + "the capital in Paris " * 60 + "0.85"
    output = json.dumps({"answer": "0.85", "start": len(text) - 4, "end": len(text)})
    found = explain(model, tokenizer, task, text, output=output)
    assert found.pieces[0].text.strip() == "W" or text.startswith(found.pieces[0].text)
    assert found.pieces[-1].end == len(text)
    assert found.alternatives[0].said == "0.85"


def test_a_spans_type_is_weighed_against_the_others(tokenizer):
    task, model = made("tagger", tokenizer)
    spans = [
        {"start": 0, "end": 3, "text": "Ada", "type": "person"},
        {"start": 8, "end": 11, "text": "Bob", "type": "person"},
    ]
    found = explain(model, tokenizer, task, "Ada met Bob in Paris", output=json.dumps(spans))
    assert [one.said for one in found.alternatives] == ["Ada → person", "Bob → person"]
    for one in found.alternatives:
        assert one.probability + sum(p for _, p in one.others) == pytest.approx(1, abs=1e-4)


def test_confidence_comes_with_what_became_of_answers_as_sure():
    rows = pd.DataFrame({"confidence": [0.95] * 8 + [0.15] * 2, "score": [1.0] * 6 + [0.0] * 2 + [0.0, 1.0]})
    found = calibrated(0.93, rows)
    assert (found.num_rows, found.score, found.low, found.high) == (8, 0.75, 0.9, 1.0)
    assert found.score_low < 0.75 < found.score_high
    assert found.error == pytest.approx(0.8 * 0.2 + 0.2 * 0.35)
    assert calibrated(0.5, rows).score is None
    assert calibrated(1.0, rows).num_rows == 8
    assert calibrated(0.5, rows.drop(columns="confidence")) is None


def test_a_model_whose_tokens_are_looked_up_by_distance_is_not_explained_and_says_so(tokenizer):
    from components.models.ngram_gpt import NgramGptConfig, NgramGptLanguageModel

    model = NgramGptLanguageModel(NgramGptConfig(vocab_size=len(tokenizer), hidden_size=16)).eval()
    with pytest.raises(UsageError, match="does not look its tokens up"):
        explain(model, tokenizer, get_task("generation"), TEXT)
