"""What the ledger can be asked."""

import pytest


@pytest.fixture
def filled(ledger, ask, clock):
    """Six feedback rows of `library` (a second apart) and one of `summary`."""
    for number in range(6):
        clock.time += 1
        kind = {"kind": "correct", "correction": "mne"} if number % 2 else {"kind": "approve"}
        ledger.record_feedback(f"f{number}", request_id=ask(number), channel="scripted-rater", **kind)
    ledger.record_feedback("other", request_id=ask(0, table="summary", output="A line."), kind="reject")
    return ledger


def test_pages_run_backwards_without_repeating_a_row(filled):
    first = filled.feedback("library", limit=4)
    second = filled.feedback("library", limit=4, before=first[-1].sequence)
    assert [row.feedback_id for row in first + second] == ["f5", "f4", "f3", "f2", "f1", "f0"]
    answers = filled.answers("library", limit=4)
    rest = filled.answers("library", limit=4, before=answers[-1].sequence)
    assert len({row.request_id for row in answers + rest}) == 6


def test_feedback_carries_its_answer_and_its_current_fate(filled):
    filled.append_fates([filled.fate("f1", "refused", reason="duplicate")])
    (row,) = filled.feedback(fate="refused")
    assert (row.feedback_id, row.text, row.output, row.model_version, row.reason) == (
        "f1",
        "text number 1",
        "sympy",
        1,
        "duplicate",
    )
    assert [row.feedback_id for row in filled.feedback("library", kind="correct")] == ["f5", "f3", "f1"]


def test_each_row_counts_once_where_it_stands_now(filled):
    filled.append_fates([filled.fate(f"f{n}", "admitted", data_version="d1") for n in (0, 1)])
    filled.append_fates([filled.fate("f1", "trained", model_version=2)])
    filled.append_fates([filled.fate("f2", "refused", reason="empty")])
    assert filled.current_fates("library") == {"received": 3, "refused": 1, "admitted": 1, "trained": 1, "measured": 0}
    assert sum(filled.current_fates().values()) == 7
    assert filled.refusals("library") == {"empty": 1}


def test_a_cut_names_the_same_rows_however_many_come_after(filled, ask):
    cut = filled.cut()
    before = [row.feedback_id for row in filled.feedback_upto("library", cut)]
    filled.record_feedback("late", request_id=ask(9), kind="approve")
    assert [row.feedback_id for row in filled.feedback_upto("library", cut)] == before
    assert before == ["f0", "f1", "f2", "f3", "f4", "f5"]


def test_what_is_unconsumed_lies_above_the_last_consumed_cut(filled, ask, clock):
    assert filled.unconsumed("library") == 6
    filled.consume("library", 4, outcome="inconclusive")
    assert filled.unconsumed("library") == 2
    filled.consume("library", 7, outcome="promote")
    filled.consume("library", 7, outcome="promote")
    assert (filled.unconsumed("library"), filled.unconsumed("summary")) == (0, 1)
    assert [cut.cut for cut in filled.cuts("library")] == [4, 7]
    clock.time += 100
    filled.record_feedback("late", request_id=ask(9), kind="approve")
    pending = filled.pending("library")
    assert (pending.count, pending.cut, pending.oldest_at, pending.newest_at) == (1, 8, clock.time, clock.time)


def test_effects_join_a_row_with_what_the_newest_model_makes_of_it(filled):
    for version, score in ((2, 0.0), (3, 1.0)):
        filled.append_fates(
            [
                filled.fate(f"f{n}", "measured", model_version=version, effect={"score_after": score * (n != 5)})
                for n in (1, 3, 5)
            ]
        )
    assert [row.feedback_id for row, _ in filled.effects("library")] == ["f1", "f3", "f5"]
    assert filled.corrected_now_right("library") == pytest.approx(2 / 3)
    assert filled.corrected_now_right("library", model_version=2) == 0
    assert filled.corrected_now_right("summary") is None


def test_an_empty_ledger_answers_with_nothing_rather_than_an_error(ledger):
    assert (ledger.tables(), ledger.answers(), ledger.feedback(), ledger.cut()) == ([], [], [], 0)
    assert (ledger.unconsumed("library"), ledger.effects("library"), ledger.journal(), ledger.verdicts()) == (
        0,
        [],
        [],
        [],
    )
    assert set(ledger.current_fates("library").values()) == {0}


def test_answers_are_counted_by_the_version_that_gave_them(ledger, ask):
    for number in range(5):
        ask(number, version=1 + number // 3)
    assert ledger.num_answers("library") == {("banyan-library", 1): 3, ("banyan-library", 2): 2}
