import ast
import json

import pandas as pd
import pytest
import torch
import transformers

from components.errors import MappingError
from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks.base import IGNORED, Answer
from components.tasks.entities import TASK, read_iob2

RECIPE = Finetune(name="t", task="entities", table="t", base="b", num_steps=1, learning_rate=1, max_length_tokens=16)
TEXT = "Ask Ada Lovelace of London about the engine."
SPANS = [
    {"start": 4, "end": 16, "text": "Ada Lovelace", "type": "person"},
    {"start": 20, "end": 26, "text": "London", "type": "place"},
]


@pytest.fixture(scope="module")
def tokenizer():
    found = train_bpe(["Ask Ada about London and the engine"] * 3, 300)
    found.model_max_length = 16
    return found


def rows(tokenizer, texts, spans, labels=("person", "place")):
    frame = pd.DataFrame({"text": texts, "entities": [json.dumps(one) for one in spans]})
    return TASK.rows(frame, tokenizer, RECIPE, labels)


@pytest.mark.parametrize(
    "given",
    [
        SPANS,
        [{"start": 20, "end": 26, "type": "place"}, {"text": "Ada Lovelace", "type": "person"}],
        [{"text": "Ada  Lovelace", "start": 5, "type": "person"}, {"text": " London ", "type": "place"}],
    ],
)
def test_a_span_is_known_by_its_place_or_by_its_text(given):
    assert json.loads(TASK.fit(TEXT, json.dumps(given))) == SPANS


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([{"text": "Babbage", "type": "person"}], "'Babbage' is not in the text"),
        (
            [{"start": 30, "end": 36, "text": "London", "type": "place"}, {"start": 20, "end": 26, "type": "p"}],
            "not in",
        ),
        ([{"start": 40, "end": 43, "text": "Ask", "type": "verb"}], "at 40 there is .*, not span 'Ask'"),
        ([{"start": 40, "end": 99, "type": "place"}], "no span from 40 to 99 in a text of 44 characters"),
        ([{"text": "a", "type": "letter"}], "3 times"),
        ([SPANS[0], {"text": "Lovelace", "type": "person"}], "overlap"),
        ([{"text": "London"}], "type of one word"),
        ([{"text": 3, "type": "x"}], "string"),
        ([{"text": "", "type": "x"}], "empty"),
        ({"London": "place"}, "JSON list"),
        ("London", "JSON list"),
    ],
)
def test_a_span_that_does_not_match_the_text_is_refused_with_a_reason(given, reason):
    with pytest.raises(ValueError, match=reason):
        TASK.fit(TEXT, json.dumps(given))


def test_spans_follow_their_text_where_masking_has_moved_it():
    masked = "Mail [EMAIL_1] and then ask Ada Lovelace."
    given = [{"start": 60, "end": 72, "text": "Ada Lovelace", "type": "person"}]
    assert json.loads(TASK.fit(masked, json.dumps(given)))[0]["start"] == 28


def test_the_first_token_of_a_word_carries_its_tag_and_a_span_begins_once(tokenizer):
    tokenizer.model_max_length = 64
    [row] = rows(tokenizer, [TEXT], [SPANS])
    tokenizer.model_max_length = 16
    tags = [tag for tag in row["labels"] if tag != IGNORED]
    names = TASK.outputs(["person", "place"])
    assert [names[tag] for tag in tags] == [
        "O", "B-person", "I-person", "O", "B-place", "O", "O", "O", "O",
    ]  # fmt: skip
    assert len(row["labels"]) == len(row["input_ids"])


def test_a_long_text_becomes_windows_that_lose_no_word(tokenizer):
    text = " ".join(f"word{number}" for number in range(40)) + " London"
    found = rows(tokenizer, [text], [[{"start": len(text) - 6, "end": len(text), "text": "London", "type": "place"}]])
    assert len(found) > 1
    assert all(len(row["input_ids"]) <= 16 for row in found)
    assert TASK.outputs(["person", "place"]).index("B-place") in found[-1]["labels"]


def test_a_type_that_is_not_the_tables_is_named(tokenizer):
    with pytest.raises(MappingError, match=r"\['place'\].*person"):
        rows(tokenizer, [TEXT], [SPANS], labels=["person"])


def test_answers_are_the_same_alone_and_together_and_lie_in_their_texts(tokenizer):
    torch.manual_seed(0)
    names = dict(enumerate(TASK.outputs(["person", "place"])))
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.5, id2label=names, label2id={v: k for k, v in names.items()},
    )  # fmt: skip
    model = transformers.BertForTokenClassification(config).eval()
    texts = [TEXT, "", "   ", "مرحبا Ada 北京", "word " * 60, "a\x00b"]
    together = TASK.answer(model, tokenizer, texts)
    assert any(answer.output != "[]" for answer in together)
    for text, answer in zip(texts, together, strict=True):
        [alone] = TASK.answer(model, tokenizer, [text])
        assert alone.output == answer.output
        assert 0 <= answer.confidence <= 1
        for span in json.loads(answer.output):
            assert text[span["start"] : span["end"]] == span["text"] != ""
        assert TASK.fit(text, answer.output) == answer.output


def test_f1_over_all_spans_is_seqevals():
    from seqeval.metrics import f1_score, precision_score, recall_score

    said = [[SPANS[0], {**SPANS[1], "type": "person"}], [], [{"start": 0, "end": 3, "text": "Ask", "type": "verb"}]]
    true = [SPANS, [], [{"start": 0, "end": 7, "text": "Ask Ada", "type": "verb"}]]
    frame = pd.DataFrame({"id": list("abc"), "text": [TEXT] * 3, "entities": [json.dumps(one) for one in true]})
    scored = TASK.score([Answer(json.dumps(one), 1.0) for one in said], frame)
    assert scored["score"].tolist() == [0.5, 1, 0]

    def tags(spans):
        found = ["O"] * len(TEXT)
        for span in spans:
            inside = range(span["start"], span["end"])
            for at in inside:
                found[at] = f"{'B' if at == inside[0] else 'I'}-{span['type']}"
        return found

    both = [tags(one) for one in true], [tags(one) for one in said]
    figures = TASK.figures(scored)
    assert figures["entity_f1"] == pytest.approx(f1_score(*both))
    assert figures["entity_precision"] == pytest.approx(precision_score(*both))
    assert figures["entity_recall"] == pytest.approx(recall_score(*both))


def test_the_gazetteer_says_the_longest_name_it_knows_and_leaves_rare_ones_out():
    train = pd.DataFrame(
        {
            "text": ["New York is big", "York is old", "May came", "it may rain in May", "in May"],
            "entities": [
                json.dumps([{"start": 0, "end": 8, "text": "New York", "type": "city"}]),
                json.dumps([{"start": 0, "end": 4, "text": "York", "type": "town"}]),
                json.dumps([{"start": 0, "end": 3, "text": "May", "type": "person"}]),
                "[]",
                "[]",
            ],
        }
    )
    test = pd.DataFrame({"id": ["1"], "text": ["From York to New York in May."], "entities": ["[]"]})
    [said] = TASK.baseline(train, test, [])["prediction"]
    assert [(span["text"], span["type"]) for span in json.loads(said)] == [("York", "town"), ("New York", "city")]


def test_iob2_is_read_as_it_comes_and_a_bad_sentence_is_told_by_its_line():
    found = list(read_iob2("Ada\tB-person\nLovelace\tI-person\n\nin\tO\nLondon\tI-place,B-x\n\nbad\n\n-DOCSTART- O\n"))
    assert found[0]["text"] == "Ada Lovelace"
    assert json.loads(found[0]["entities"]) == [{"start": 0, "end": 12, "text": "Ada Lovelace", "type": "person"}]
    assert json.loads(found[1]["entities"])[0]["type"] == "place"
    assert found[2] == "line 7: 'bad' is no token with an IOB2 tag"
    assert len(found) == 3


def test_what_sphinx_roles_mark_is_gold_once_the_roles_are_gone():
    code = ast.parse(
        '"""Module.\n\nGive a :class:`~pkg.Graph` to :func:`solve` before :exc:`KeyError <x>` comes.\n\n'
        'Here :class:`Graph` stands beside an_unmarked name in the text.\n\n:class:`Graph` alone.\n"""'
    )
    [(text, target)] = TASK.gold(code)
    assert text == "Give a Graph to solve before KeyError comes."
    assert [(span["text"], span["type"]) for span in json.loads(target)] == [
        ("Graph", "class"), ("solve", "function"), ("KeyError", "exception"),
    ]  # fmt: skip
    assert TASK.fit(text, target) == target


def test_only_line_ends_end_a_line_of_iob2():
    [row] = read_iob2("Ada\u2028L.\tB-person\r\nin\tO\r\n\r\n")
    assert json.loads(row["entities"])[0]["text"].split() == ["Ada", "L."]
