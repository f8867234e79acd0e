"""From feedback to training rows: admitted or refused with a reason, and always the same for the same cut."""

import pytest

from components.data.tables import columns, content_id, write_split
from components.feedback import reasons as why
from components.feedback.curation import rows_for_training
from components.tasks import get_task
from tests.unit.feedback.conftest import table_rows


@pytest.fixture
def curate(ledger, data_dir):
    return lambda cut=None: rows_for_training(
        ledger,
        "library",
        ledger.cut() if cut is None else cut,
        task=get_task("classification"),
        data_dir=data_dir,
    )


def reasons(curated) -> dict[str, str]:
    return {one.feedback.feedback_id: one.reason for one in curated.refused}


def test_a_correction_becomes_a_row_with_the_correction_and_an_approval_one_with_the_answer(curate, give):
    give("read raw data", correction="mne")
    give("solve an equation", output="sympy", kind="approve")
    rows = curate().rows.set_index("text")
    assert rows["label"].to_dict() == {"read raw data": "mne", "solve an equation": "sympy"}
    assert set(rows["origin"]) == {"feedback"}


def test_a_row_has_the_tables_columns_and_the_licence_of_what_it_replays(curate, give):
    give("read raw data", correction="mne", channel="scripted-rater")
    give("typed by somebody", correction="mne", channel="dashboard")
    rows = curate().rows
    assert tuple(rows.columns) == columns("classification")
    replayed, typed = (rows.set_index("text").loc[text] for text in ("read raw data", "typed by somebody"))
    pool_row = table_rows({"read raw data": "mne"}).iloc[0]
    assert (replayed["licence"], replayed["group"], replayed["source"]) == (
        "BSD-3-Clause",
        pool_row["group"],
        "feedback/scripted-rater",
    )
    assert (typed["licence"], typed["source"], typed["imputed"]) == ("contributed", "feedback/dashboard", "")
    assert list(rows["id"]) == sorted(map(content_id, rows["text"]))


@pytest.mark.parametrize(
    ("text", "feedback", "reason"),
    [
        ("read raw data", {"kind": "reject"}, why.NO_CORRECTION),
        ("read raw data", {"correction": "  "}, why.EMPTY),
        ("   ", {"correction": "mne"}, why.EMPTY),
        ("read raw data", {"correction": "numpy"}, why.UNKNOWN_LABEL),
        ("Plot  the power spectrum of ALL channels at once", {"correction": "mne"}, why.IN_TEST),
        ("plot the power spectrum of all channels at once now", {"correction": "mne"}, why.NEARLY_IN_TEST),
        ("render a template", {"correction": "django"}, why.IN_TRAIN),
        ("render a template", {"correction": "mne"}, why.AGAINST_TRAIN),
    ],
)
def test_what_must_not_teach_is_refused_with_its_reason(curate, give, text, feedback, reason):
    refused = give(text, **feedback)
    kept = give("factor a polynomial", correction="sympy")
    curated = curate()
    assert reasons(curated) == {refused: reason}
    assert [one.feedback.feedback_id for one in curated.admitted] == [kept]


def test_a_label_is_meant_whatever_its_case(curate, give):
    give("read raw data", correction=" MNE ")
    assert list(curate().rows["label"]) == ["mne"]


def test_agreeing_rows_teach_once(curate, give):
    first = give("read raw data", correction="mne", subject="ada")
    again = give("read raw data", correction="mne", subject="ada")
    other = give("Read raw  data", correction="mne", subject="bob")
    curated = curate()
    assert [one.feedback.feedback_id for one in curated.admitted] == [first]
    assert reasons(curated) == {again: why.DUPLICATE, other: why.DUPLICATE}


def test_a_person_may_change_their_mind(curate, give):
    first = give("read raw data", correction="django", subject="ada")
    second = give("read raw data", correction="mne", subject="ada")
    curated = curate()
    assert reasons(curated) == {first: why.SUPERSEDED}
    assert [(one.feedback.feedback_id, one.target) for one in curated.admitted] == [(second, "mne")]


@pytest.mark.parametrize("people", [("ada", "bob"), (None, None)])
def test_people_who_contradict_each_other_teach_nothing(curate, give, people):
    both = [
        give("read raw data", correction=label, subject=person)
        for label, person in zip(("mne", "django"), people, strict=True)
    ]
    curated = curate()
    assert curated.rows.empty
    assert reasons(curated) == dict.fromkeys(both, why.CONTRADICTORY)
    assert curated.reasons == {why.CONTRADICTORY: 2}


def test_the_same_cut_gives_the_same_rows_whatever_came_after(curate, give, ledger, data_dir):
    give("read raw data", correction="mne", subject="ada")
    give("factor a polynomial", correction="sympy")
    cut, before = ledger.cut(), curate()
    give("read raw data", correction="django", subject="ada")
    give("something else", kind="reject")
    write_split(data_dir, "library", "feedback", before.rows, task="classification")
    ledger.append_fates([ledger.fate("feedback-1", "measured")])
    after = curate(cut)
    assert after.rows.equals(before.rows)
    assert not after.rows.equals(curate().rows)


def test_no_feedback_is_an_empty_table_with_all_columns(curate):
    curated = curate()
    assert (len(curated.rows), tuple(curated.rows.columns)) == (0, columns("classification"))


def test_personal_data_does_not_reach_training(curate, give):
    give("send it to bob@example.org please", correction="django")
    assert list(curate().rows["text"]) == ["send it to [EMAIL_1] please"]


def test_every_row_up_to_the_cut_is_either_admitted_or_refused(curate, give, ledger):
    for number, label in enumerate(["mne", "numpy", "sympy", "", "mne"] * 3):
        give(f"text {number % 7}", correction=label, subject=f"s{number % 2}")
    curated = curate()
    found = sorted(one.feedback.sequence for one in (*curated.admitted, *curated.refused))
    assert found == list(range(1, ledger.cut() + 1))
    assert all(one.reason for one in curated.refused)
