"""What became of feedback, step by step, on a real (tiny, random) classifier."""

import pytest
import torch

from components.data.tables import read_split, write_split
from components.errors import LedgerError
from components.feedback import fates
from components.feedback.curation import rows_for_training
from components.refs import DataRef, ModelRef
from components.tasks import get_task
from tests.unit.feedback.conftest import LABELS

DATA = DataRef(version="d" * 32, tables={"library": "t" * 64})
MODEL = ModelRef(name="banyan-library", version=2, run_id="r", weights_sha256="2" * 64)
TASK = get_task("classification")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """Always says the last label: its bias is set so."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "read", "raw", "data"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.0, 0.0, 100.0]))
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def curated(ledger, data_dir, give):
    give("read raw data", output="django", correction="mne")
    give("factor a polynomial", output="django", correction="sympy")
    give("solve an equation", output="sympy", kind="approve")
    give("who knows", kind="reject")
    found = rows_for_training(ledger, "library", ledger.cut(), task=TASK, data_dir=data_dir)
    write_split(data_dir, "library", "feedback", found.rows, task="classification")
    return found


def way(ledger, number: int) -> list[str]:
    return [step.fate for step in ledger.fate_of(f"feedback-{number}")]


def test_a_row_goes_from_received_to_measured_and_its_author_can_see_why(ledger, curated, data_dir, model_dir):
    assert fates.screened(ledger, curated, data=DATA) == 4
    assert fates.trained(ledger, "library", data=DATA, model=MODEL) == 3
    effect = fates.measured(
        ledger, "library", data=DATA, model=MODEL, model_dir=model_dir, data_dir=data_dir, task=TASK
    )
    assert way(ledger, 1) == ["received", "admitted", "trained", "measured"]
    assert way(ledger, 4) == ["received", "refused", "refused"], "it is no row that anything was trained on"
    assert ledger.fate_of("feedback-4")[-1].reason == "thumbs-down without correction"
    assert effect == fates.Effect(
        num_corrected=2,
        corrected_right_before=0.0,
        corrected_now_right=0.5,
        num_approved=1,
        approved_still_right=1.0,
    )
    assert ledger.fate_of("feedback-2")[-1].effect == {
        "score_before": 0.0,
        "score_after": 1.0,
        "output_after": "sympy",
    }
    assert ledger.corrected_now_right("library", model_version=2) == 0.5
    assert fates.effect_of(ledger.effects("library", kind=None)) == effect


def test_a_step_that_is_taken_again_changes_nothing(ledger, curated, data_dir, model_dir):
    def all_steps() -> None:
        fates.screened(ledger, curated, data=DATA)
        fates.trained(ledger, "library", data=DATA, model=MODEL)
        fates.measured(ledger, "library", data=DATA, model=MODEL, model_dir=model_dir, data_dir=data_dir, task=TASK)

    all_steps()
    before = [way(ledger, number) for number in (1, 2, 3, 4)]
    all_steps()
    assert [way(ledger, number) for number in (1, 2, 3, 4)] == before


def test_only_what_a_version_admitted_is_trained_on_it(ledger, curated, give):
    fates.screened(ledger, curated, data=DATA)
    give("came later", correction="mne")
    assert fates.trained(ledger, "library", data=DATA, model=MODEL) == 3
    assert way(ledger, 5) == ["received"]


def test_all_refused_needs_no_version_but_any_admitted_does(ledger, data_dir, give, curated):
    with pytest.raises(LedgerError, match="admitted to no data version"):
        fates.screened(ledger, curated, data=None)
    only_refused = rows_for_training(ledger, "library", 0, task=TASK, data_dir=data_dir)
    assert fates.screened(ledger, only_refused, data=None) == 0


def test_a_version_that_lacks_the_rows_is_not_measured(ledger, curated, data_dir, model_dir):
    fates.screened(ledger, curated, data=DATA)
    kept = read_split(data_dir, "library", "feedback").iloc[:1]
    write_split(data_dir, "library", "feedback", kept, task="classification")
    with pytest.raises(LedgerError, match="2 of 3 admitted rows are not in data version"):
        fates.measured(ledger, "library", data=DATA, model=MODEL, model_dir=model_dir, data_dir=data_dir, task=TASK)
    assert ledger.current_fates("library")["measured"] == 0


def test_nothing_admitted_measures_nothing_and_loads_no_model(ledger, data_dir, tmp_path):
    effect = fates.measured(
        ledger, "library", data=DATA, model=MODEL, model_dir=tmp_path / "none", data_dir=data_dir, task=TASK
    )
    assert (effect.num_corrected, effect.corrected_now_right) == (0, None)


def test_a_disliked_answer_is_asked_for_again_and_called_neither_better_nor_right(ledger, data_dir, give, model_dir):
    for text, output in (("what is this", "django"), ("what is that", LABELS[-1]), ("read raw data", "django")):
        give(text, output=output, kind="reject")
    give("read raw data", output="django", correction="mne")
    curated = rows_for_training(ledger, "library", ledger.cut(), task=TASK, data_dir=data_dir)
    write_split(data_dir, "library", "feedback", curated.rows, task="classification")
    fates.screened(ledger, curated, data=DATA)
    answer = {"model": MODEL, "model_dir": model_dir, "data_dir": data_dir, "task": TASK}
    for _ in range(2):  # taken again, it adds nothing
        effect = fates.measured(ledger, "library", data=DATA, **answer)
    [always] = {step.effect["output_after"] for one in (1, 2, 3) for step in ledger.fate_of(f"feedback-{one}")[2:]}
    assert always == LABELS[-1]
    last = {one: ledger.fate_of(f"feedback-{one}")[-1] for one in (1, 2, 3)}
    assert [way(ledger, one) for one in (1, 2, 3)] == [["received", "refused", "refused"]] * 3
    assert {one: step.effect["is_given_again"] for one, step in last.items()} == {
        1: False,
        2: True,
        3: False,
    }
    assert "score_after" not in last[1].effect and last[1].model_version == MODEL.version
    assert (last[3].effect["score_before"], last[3].effect["score_after"]) == (0.0, 0.0)
    assert effect.num_corrected == 1, "what was disliked is no part of the effect's shares"
    assert ledger.refusals("library") == {"thumbs-down without correction": 3}
