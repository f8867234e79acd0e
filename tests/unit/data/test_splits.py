import random
from collections import Counter

import pytest

from components.data.cleaning import Row, kept
from components.data.splits import ROWS_PER_GROUP, split_by_quota, split_by_share, split_corpus, unit


def _rows(num_groups: int, per_group: int, labels: str = "ab") -> list[Row]:
    return [
        Row(f"{label} {group} {number}", label, label, "l", f"{label}/{group}", id=f"{label}-{group}-{number}")
        for label in labels
        for group in range(num_groups)
        for number in range(per_group)
    ]


QUOTAS = {"train": 20, "test": 40, "pool": 30}


def test_quotas_are_filled_evenly_and_the_rest_says_so():
    rows = _rows(30, 4)
    split_by_quota(rows, QUOTAS, seed=0, strata="answer")
    assert Counter((row.answer, row.split) for row in kept(rows)) == {
        (label, split): number // 2 for label in "ab" for split, number in QUOTAS.items()
    }
    assert {row.reason for row in rows if row.reason} == {"over quota"}


def test_no_test_row_shares_its_file_with_a_row_of_another_split():
    rows = _rows(30, 4)
    split_by_quota(rows, QUOTAS, seed=0, strata="answer")
    test = {row.group for row in kept(rows) if row.split == "test"}
    assert test
    assert test.isdisjoint(row.group for row in kept(rows) if row.split != "test")


def test_one_file_gives_no_more_than_its_share():
    rows = _rows(2, 60, labels="a")
    split_by_quota(rows, {"train": 100}, seed=0, strata="answer")
    assert max(Counter(row.group for row in kept(rows)).values()) == ROWS_PER_GROUP


def test_the_order_of_the_rows_changes_no_split():
    rows, backwards = _rows(30, 4), _rows(30, 4)[::-1]
    for these in (rows, backwards):
        split_by_quota(these, QUOTAS, seed=0, strata="answer")
    assert {row.id: (row.split, row.reason) for row in rows} == {row.id: (row.split, row.reason) for row in backwards}


def test_another_seed_gives_another_split():
    rows, others = _rows(30, 4), _rows(30, 4)
    split_by_quota(rows, QUOTAS, seed=0, strata="answer")
    split_by_quota(others, QUOTAS, seed=1, strata="answer")
    assert [row.split for row in rows] != [row.split for row in others]


def test_rows_that_come_later_move_none_that_are_there():
    few, many = _rows(50, 1), _rows(90, 1)
    for rows in (few, many):
        split_by_share(rows, 0.3, seed=0, by_label=True)
    later = {row.id: row.split for row in many}
    assert all(later[row.id] == row.split for row in few)
    assert 0.15 < sum(row.split == "test" for row in many) / len(many) < 0.45


def test_each_label_is_in_both_splits_even_when_it_is_rare():
    rows = _rows(40, 1, labels="a") + _rows(2, 1, labels="bcdefgh")
    split_by_share(rows, 0.2, seed=0, by_label=True)
    found = {(row.answer, row.split) for row in kept(rows)}
    assert found == {(label, split) for label in "abcdefgh" for split in ("train", "test")}


def test_a_label_that_lives_in_one_group_is_rejected():
    rows = _rows(40, 1, labels="ab") + _rows(1, 3, labels="z")
    split_by_share(rows, 0.2, seed=0, by_label=True)
    assert {row.reason for row in rows if row.answer == "z"} == {"label with too few rows"}


def test_a_filled_in_answer_is_never_measured_by():
    rows = _rows(200, 1)
    for row in rows:
        row.imputed = "label"
    split_by_share(rows, 0.5, seed=0, by_label=False)
    assert {row.split for row in kept(rows)} == {"train"}


@pytest.mark.parametrize("stratified", [False, True])
def test_a_label_whose_test_rows_would_all_be_guesses_is_measured_by_one_that_was_given(stratified):
    by_hash = sorted((f"g{number}" for number in range(12)), key=lambda group: unit(0, group))
    labels = dict.fromkeys(by_hash, "common") | {by_hash[0]: "rare", by_hash[6]: "rare", by_hash[9]: "rare"}
    rows = [Row(f"text {group}", label, "s", "l", group, id=f"id-{group}") for group, label in labels.items()]
    next(
        row for row in rows if row.group == by_hash[0]
    ).imputed = "label"  # the only one of them that the hash measures by
    split_by_share(rows, unit(0, by_hash[1]), seed=0, by_label=True, stratified=stratified)
    rare = {row.group: (row.split, row.reason) for row in rows if row.answer == "rare"}
    assert [split for split, reason in rare.values() if not reason].count("test") == 1
    assert ("train", "") in rare.values()


def test_a_label_that_was_only_filled_in_is_rejected_and_says_so():
    rows = [Row(f"text {n}", "given", "s", "l", f"g{n}", id=f"id-{n}") for n in range(8)]
    rows += [Row(f"none {n}", "other", "s", "l", f"h{n}", id=f"no-{n}", imputed="label") for n in range(8)]
    split_by_share(rows, 0.3, seed=0, by_label=True)
    assert {row.reason for row in rows[8:]} == {"label that was only filled in"}
    assert {row.reason for row in rows[:8]} == {""}


def test_each_source_of_a_corpus_has_something_held_out_and_keeps_to_its_limit():
    rows = [Row("x" * 100, "", source, "l", f"{source}/{number}") for source in "ab" for number in range(50)]
    split_corpus(rows, max_chars=2_000, heldout_share=0.1, seed=0)
    counts = Counter((row.source, row.split) for row in kept(rows))
    assert counts == {("a", "train"): 18, ("a", "heldout"): 2, ("b", "train"): 18, ("b", "heldout"): 2}


def _drawn(draw: random.Random, start: int, count: int) -> list[Row]:
    rows = []
    for number in range(start, start + count):
        label = draw.choice("aaaaabbc")
        group = f"g{draw.randrange(60)}" if draw.random() < 0.5 else f"own{number}"
        rows.append(Row(f"text {number}", label, "s", "l", group, id=f"id{number}"))
    return rows


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("case", range(20))
def test_a_row_never_moves_from_test_to_train_however_the_data_grows(case, stratified):
    draw = random.Random(case)
    rows: list[Row] = []
    measured: set[str] = set()
    for _ in range(4):
        rows += _drawn(draw, len(rows), draw.randint(3, 40))
        draw.shuffle(rows)
        for row in rows:
            row.split = row.reason = ""
        before = dict.fromkeys(measured, "test")
        split_by_share(rows, 0.3, seed=0, by_label=True, before=before, stratified=stratified)
        train = {row.id for row in kept(rows) if row.split == "train"}
        assert train.isdisjoint(measured)
        groups = {row.group for row in kept(rows) if row.split == "test"}
        assert groups.isdisjoint(row.group for row in kept(rows) if row.split == "train")
        measured |= {row.id for row in kept(rows) if row.split == "test"}
    assert measured


def test_stratified_gives_each_label_its_share_where_groups_allow():
    draw = random.Random(0)
    rows = [Row(f"t{n}", draw.choice("aaaaaaaabc"), "s", "l", f"g{n}", id=f"i{n}") for n in range(300)]
    split_by_share(rows, 0.2, seed=0, by_label=True, stratified=True)
    counts = Counter(row.answer for row in kept(rows))
    tested = Counter(row.answer for row in kept(rows) if row.split == "test")
    assert tested == {label: round(0.2 * number) for label, number in counts.items()}


def test_what_was_held_out_of_a_corpus_stays_out_when_it_grows():
    def documents(count: int) -> list[Row]:
        return [Row("x" * 100, "", "s", "l", f"g{n}", id=f"i{n}") for n in range(count)]

    few, many = documents(40), documents(400)
    split_corpus(few, max_chars=1 << 40, heldout_share=0.1, seed=0)
    out = {row.id for row in few if row.split == "heldout"}
    split_corpus(many, max_chars=1 << 40, heldout_share=0.02, seed=0, before=out)
    assert out
    assert out <= {row.id for row in many if row.split == "heldout"}
