"""A number a text: trained, answered, scored and measured in the number's own unit."""

import ast

import pandas as pd
import pytest
import torch

from components.errors import MappingError
from components.models.pretrained import load_trained
from components.recipes import Finetune
from components.tasks import get_task
from components.tasks.base import Answer
from components.tasks.regression import TASK
from components.training.finetuning import finetune

WORDS = {"dreadful": 1900.0, "fair": 2000.0, "splendid": 2100.0}


def frame(numbers) -> pd.DataFrame:
    rows = [(f"a {word} meal number {i}", repr(value + i % 2)) for i in numbers for word, value in WORDS.items()]
    return pd.DataFrame(rows, columns=["text", "value"]).assign(id=[str(i) for i in range(len(rows))])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import transformers

    from components.data import tables
    from components.models.tokenizer import train_bpe

    data, base = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("base")
    for split, numbers in (("train", range(12)), ("test", range(12, 18))):
        rows = frame(numbers).assign(source="t", licence="MIT", group="g", origin="provenance", imputed="")
        rows["id"] = rows["text"].map(tables.content_id)
        tables.write_split(data, "meals", split, rows, task="regression")
    tables.write_table_info(data, "meals", task="regression", labels=[], licences={"t": "MIT"})
    tokenizer = train_bpe([*frame(range(12))["text"]], 300)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes)
    transformers.BertModel(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    recipe = Finetune(
        name="meals", task="regression", table="meals", base="tiny", num_steps=60, batch_size=12, learning_rate=3e-3,
        max_length_tokens=24, precision="fp32", validation_share=0.2,
    )  # fmt: skip
    return finetune(recipe, data_dir=data, weights_dir=base, run_dir=tmp_path_factory.mktemp("run"))


def test_it_learns_numbers_of_any_unit_and_beats_their_mean(trained):
    model, tokenizer = load_trained(trained.model_dir, task=TASK)
    rows = frame(range(12, 18))
    scored = TASK.score(TASK.answer(model, tokenizer, list(rows["text"])), rows)
    figures = TASK.figures(scored)
    assert figures["mae"] < 20, "the words are a hundred apart"
    assert figures["r2"] > 0.9 and figures["spearman"] > 0.8
    assert scored["score"].mean() > 0.9
    assert 0 < trained.metrics["heldout_loss"] < 0.5, "in the training rows' variance"
    assert model.config.problem_type == "regression"
    assert model.config.value_mean == pytest.approx(2000.5, abs=10)


def test_what_the_engine_reads_is_the_number_and_not_a_share(trained):
    from components.serving.scoring import reads_of

    model, tokenizer = load_trained(trained.model_dir, task=TASK)
    inputs = tokenizer(["a splendid meal", "a dreadful meal"], return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model(**inputs)
    said = [one.values[0] for one in reads_of(out, inputs, says="number")]
    assert said == pytest.approx(out.logits.flatten().tolist())
    assert said[0] > 0.5 and said[1] < -0.5


def test_figures_are_those_that_are_reckoned_by_hand():
    rows = pd.DataFrame({"id": list("abcd"), "text": list("abcd"), "value": ["1.0", "2.0", "3.0", "4.0"]})
    scored = TASK.score([Answer(one, 1.0) for one in ("1", "3", "2", "6")], rows)
    assert TASK.figures(scored) == pytest.approx({"mse": 1.5, "mae": 1.0, "r2": 1 - 1.5 / 1.25, "spearman": 0.8})
    assert scored["score"].tolist() == pytest.approx([1, 1 / 1.8, 1 / 1.8, 1 / (1 + 4 / 1.25)])
    wrong = TASK.score([Answer("no number", 1.0)] * 4, rows)
    assert wrong["score"].tolist() == [0, 0, 0, 0]


def test_the_baseline_reads_the_words():
    train, test = frame(range(12)), frame(range(12, 18))
    figures = TASK.figures(TASK.baseline(train, test, []))
    assert figures["r2"] > 0.8


def test_a_function_says_how_many_parameters_it_takes():
    code = ast.parse(
        "class A:\n"
        "    def f(self, a, b=1, *, c):\n"
        '        """Return the sum of three numbers.\n\n        And more."""\n'
        "    def g(self):\n"
        '        """Too short."""\n'
    )
    assert list(TASK.gold(code)) == [("Return the sum of three numbers.", "3.0")]


def test_cells_that_are_no_numbers_are_refused():
    assert TASK.fit("a text", " 3 ") == "3.0" and TASK.fit("a text", "-1e3") == "-1000.0"
    for cell in ("three", "nan", "inf", ""):
        with pytest.raises(ValueError, match="is no"):
            TASK.fit("a text", cell)
    with pytest.raises(MappingError, match="'three' is no number"):
        TASK.baseline(frame(range(2)).assign(value="three"), frame(range(2)), [])
    assert get_task("regression") is TASK
