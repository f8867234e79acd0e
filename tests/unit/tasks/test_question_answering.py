import ast
import json

import pandas as pd
import pytest
import torch
import transformers

from components.models.tokenizer import train_bpe
from components.recipes import Finetune
from components.tasks.base import Answer
from components.tasks.question_answering import NULL, TASK, f1, normalised, read_squad

RECIPE = Finetune(
    name="t", task="question_answering", table="t", base="b", num_steps=1, learning_rate=1, max_length_tokens=24
)
TEXT = "What is alpha?\nalpha is 0.50 here. beta is 0.50 too, and gamma 7."
PLACE = {"answer": "0.50", "start": 24, "end": 28}


@pytest.fixture(scope="module")
def tokenizer():
    found = train_bpe(["what is alpha here and beta too"] * 3, 300)
    found.model_max_length = 24
    return found


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.5,
    )  # fmt: skip
    return transformers.BertForQuestionAnswering(config).eval()


@pytest.mark.parametrize(
    ("given", "fitted"),
    [
        (json.dumps(PLACE), [PLACE]),
        (json.dumps([PLACE, PLACE]), [PLACE]),
        (json.dumps({"answer": "0.50", "start": 22}), [PLACE]),
        ("7", [{"answer": "7", "start": 63, "end": 64}]),
        ('"gamma  7"', [{"answer": "gamma 7", "start": 57, "end": 64}]),
        (NULL, []),
        ("null", []),
        ("No answer", []),
        ("[]", []),
    ],
)
def test_an_answer_is_known_by_its_place_or_by_its_words(given, fitted):
    assert json.loads(TASK.fit(TEXT, given)) == fitted


@pytest.mark.parametrize(
    ("text", "given", "reason"),
    [
        (TEXT, "0.51", "'0.51' is not in the text"),
        (TEXT, "0.50", "2 times"),
        (TEXT, '{"answer": "alpha", "start": 8}', "start 8 is in the question"),
        (TEXT, '{"start": 8}', "an answer is text, or JSON"),
        ("What is alpha?", "alpha", "no text after the question"),
    ],
)
def test_an_answer_that_is_not_in_the_context_is_refused_with_a_reason(text, given, reason):
    with pytest.raises(ValueError, match=reason):
        TASK.fit(text, given)


def test_the_tokens_to_learn_are_those_of_the_answer_and_its_window(tokenizer):
    long = "What is beta?\n" + "nothing at all. " * 12 + "beta is 42 here."
    start = long.index("42")
    frame = pd.DataFrame(
        {"text": [long, TEXT], "answers": [json.dumps([{"answer": "42", "start": start, "end": start + 2}]), "[]"]}
    )
    found = TASK.rows(frame, tokenizer, RECIPE, [])
    assert len(found) > 2
    with_answer = [row for row in found if row["labels"] != [0, 0]]
    assert with_answer
    for row in with_answer:
        first, last = row["labels"]
        assert tokenizer.decode(row["input_ids"][first : last + 1]).strip() == "42"
        assert row["allowed"][first] == row["allowed"][last] == 1
    assert all(row["allowed"][0] == 1 and len(row["input_ids"]) <= 24 for row in found)


def test_the_loss_is_that_of_each_row_alone_without_padding(tokenizer, model):
    frame = pd.DataFrame({"text": [TEXT, "Why?\nno."], "answers": [json.dumps([PLACE]), "[]"]})
    examples = TASK.rows(frame, tokenizer, RECIPE, [])
    total, count = TASK.loss(model, TASK.collate(examples, tokenizer.pad_token_id))
    alone = sum(TASK.loss(model, TASK.collate([one], tokenizer.pad_token_id))[0].item() for one in examples)
    assert total.item() == pytest.approx(alone, rel=1e-4)
    assert int(count) == 2 * len(examples)


def test_answers_are_the_same_alone_and_together_and_lie_in_their_contexts(tokenizer, model):
    texts = [
        TEXT,
        "",
        "a question about nothing",
        "q\n",
        "ماذا\nمرحبا 北京",
        "why " * 90 + "\nbecause",
        f"x\n{TEXT * 9}",
    ]
    together = TASK.answer(model, tokenizer, texts)
    assert any(answer.output != NULL for answer in together)
    for text, answer in zip(texts, together, strict=True):
        [alone] = TASK.answer(model, tokenizer, [text])
        assert alone.output == answer.output
        assert 0 <= answer.confidence <= 1
        said = json.loads(answer.output)
        if said["answer"] is not None:
            assert text[said["start"] : said["end"]] == said["answer"]
            assert said["start"] > text.index("\n")


def test_the_answer_is_where_the_logits_are_highest_and_none_where_the_first_token_is(tokenizer, model):
    class Loud(torch.nn.Module):
        device = torch.device("cpu")

        def __init__(self, first, last):
            super().__init__()
            self.first, self.last = first, last

        def forward(self, input_ids, attention_mask):
            start, end = torch.zeros(input_ids.shape), torch.zeros(input_ids.shape)
            start[:, self.first], end[:, self.last] = 9, 9
            return transformers.modeling_outputs.QuestionAnsweringModelOutput(start_logits=start, end_logits=end)

    short = "Who?\nalpha beta"
    found = tokenizer(["Who?"], ["alpha beta"], return_offsets_mapping=True)
    context = [i for i, part in enumerate(found.sequence_ids(0)) if part == 1]
    [answer] = TASK.answer(Loud(context[0], context[-1]), tokenizer, [short])
    assert json.loads(answer.output) == {"answer": "alpha beta", "start": 5, "end": 15}
    assert answer.confidence > 0.9
    assert [one.output for one in TASK.answer(Loud(0, 0), tokenizer, [short])] == [NULL]


def test_measures_are_those_of_squads_script():
    assert normalised("The  Damping-factor, (0.85)!") == "dampingfactor 085"
    assert f1("the red fox", "a red dog") == 0.5
    assert (f1("", "x"), f1("the", "a")) == (0, 1)
    frame = pd.DataFrame({"id": list("abc"), "answers": [json.dumps([PLACE, {"answer": "0.5"}]), "[]", "[]"]})
    answers = [Answer('{"answer": "0.5"}', 1.0), Answer(NULL, 1.0), Answer('{"answer": "x"}', 1.0)]
    scored = TASK.score(answers, frame)
    assert scored["score"].tolist() == [1, 1, 0]
    assert TASK.figures(scored) == {
        "exact_match": 2 / 3, "answerability": 2 / 3, "f1_answerable": 1, "f1_unanswerable": 0.5,
    }  # fmt: skip


def test_squads_json_is_read_with_places_in_the_whole_text():
    content = {
        "data": [
            {
                "title": "Greek",
                "paragraphs": [
                    {
                        "context": "alpha is first",
                        "qas": [
                            {"question": "What is\nfirst?", "answers": [{"text": "alpha", "answer_start": 0}]},
                            {"question": "And last?", "is_impossible": True, "answers": []},
                            {"answers": []},
                        ],
                    }
                ],
            }
        ]
    }
    first, second, third = read_squad(json.dumps(content))
    assert first["text"] == "What is first?\nalpha is first"
    assert first["group"] == "Greek"
    place = json.loads(first["answers"])[0]
    assert first["text"][place["start"] :].startswith("alpha")
    assert json.loads(second["answers"]) == []
    assert "question" in third
    for broken in ("[]", "{", '{"data": [{"paragraphs": [{}]}]}'):
        with pytest.raises(ValueError, match="paragraphs"):
            list(read_squad(broken))


def test_the_baseline_says_the_sentence_with_the_questions_words_or_that_there_is_none():
    train = pd.DataFrame({"text": ["What is it?\nIt is."]})
    test = pd.DataFrame(
        {
            "id": ["1", "2"],
            "text": ["Where is beta?\nA is 0.5. Here beta lies.", "Quo vadis?\nNo."],
            "answers": "[]",
        }
    )
    first, second = TASK.baseline(train, test, [])["prediction"]
    assert json.loads(first)["answer"] == "Here beta lies."
    assert second == NULL


def test_defaults_and_types_of_a_parameter_list_are_gold():
    code = ast.parse(
        'def f():\n    """Do.\n\n    Parameters\n    ----------\n    a : float (default=0.85)\n        Damping.\n'
        "    b : graph\n        The graph.\n    c : node\n        A node.\n\n    Returns\n    -------\n    d : int\n"
        '    """'
    )
    found = list(TASK.gold(code))
    assert [text.split("\n")[0] for text, _ in found] == [
        "What is the default of a?", "What type is b?", "What is the default of c?",
    ]  # fmt: skip
    assert [[place["answer"] for place in json.loads(target)] for _, target in found] == [["0.85"], ["graph"], []]
    for text, target in found:
        assert TASK.fit(text, target) == target
        assert "Returns" not in text
