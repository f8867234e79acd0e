"""No malformed file crashes a reader, and no row of one is lost without a word."""

import warnings
from collections import Counter

import pytest

from components.data.cleaning import MALFORMED
from components.data.files import Reading, read_file
from components.errors import BanyanError
from components.recipes import FileSource
from tests.unit.data.malformed import NUM_ROWS, Case, cases, good_rows

CASES = cases(seed=7)


def _read(path, case: Case) -> Reading:
    source = FileSource(path=path, table="things", task=case.task, max_bytes=1 << 25)
    return read_file(source, max_chars=600)


def _counted(reading: Reading) -> tuple[int, int]:
    reasons = Counter(row.reason for row in reading.rows if row.reason)
    return sum(not row.reason for row in reading.rows), reasons.total()


def test_there_are_at_least_two_hundred_and_the_seed_says_which():
    assert len(CASES) >= 200
    assert [case.content for case in cases(seed=7)] == [case.content for case in CASES]
    assert len({case.name.partition(".")[2] for case in CASES}) >= 15


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_malformed_file_is_read_row_by_row_or_refused_in_words(case, tmp_path):
    path = tmp_path / case.name
    path.write_bytes(case.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reading = _read(path, case)
    except BanyanError as err:
        assert err.exit_code == 2 and err.message and "Traceback" not in str(err)
        assert case.is_readable is not True, f"refused: {err}"
        return
    assert case.is_readable is not False, f"read {len(reading.rows)} rows: {reading.rows[:2]}"
    num_kept, num_rejected = _counted(reading)
    assert num_kept > 0
    assert num_kept + num_rejected == reading.note.num_rows
    if case.num_rows is not None:
        assert num_kept + num_rejected == case.num_rows


def test_a_spoilt_row_costs_itself_and_no_other(tmp_path):
    for case in CASES:
        if case.num_rows == NUM_ROWS and case.is_readable and case.name.endswith((".csv", ".jsonl", ".json")):
            (tmp_path / case.name).write_bytes(case.content)
            good = {row["text"] for row in good_rows()}
            read = {row.text for row in _read(tmp_path / case.name, case).rows if not row.reason}
            if good & read:  # the same words, not another language's
                assert len(good - read) <= 4, case.name


def test_in_a_folder_a_broken_file_is_one_rejected_row_and_the_others_are_read(tmp_path):
    corpus = [case for case in CASES if case.task == "corpus"]
    expected = 0
    for case in corpus:
        (tmp_path / case.name).write_bytes(case.content)
        try:
            expected += len(_read(tmp_path / case.name, case).rows)
        except BanyanError:
            expected += 1
    reading = _read(tmp_path, corpus[0])
    assert len(reading.rows) == reading.note.num_rows == expected
    assert sum(row.reason.startswith(MALFORMED) for row in reading.rows) >= 20
    assert sum(not row.reason for row in reading.rows) >= 20
