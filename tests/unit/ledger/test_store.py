"""What the ledger keeps, once, and in which form."""

import threading

import pytest

from components.errors import LedgerError, UsageError
from components.ledger.schema import Answer, Fate
from components.ledger.store import Ledger
from components.recipes import GatePolicy
from components.settings import Settings
from tests.unit.ledger.conftest import on_sqlite


def give(ledger: Ledger, number: int, request_id: str, **more) -> int:
    return ledger.record_feedback(f"feedback-{number}", request_id=request_id, **{"kind": "approve", **more})


def test_an_answer_comes_back_with_everything_its_receipt_says(ledger, ask, clock):
    found = ledger.answer(ask(1, subject="ada", seconds=0.25))
    assert found == Answer(
        sequence=1,
        request_id="request-library-1",
        at=clock.time,
        table="library",
        model_name="banyan-library",
        model_version=1,
        weights_sha256=f"{1:064d}",
        template_sha256="7" * 64,
        generation={"max_length_tokens": 64},
        text="text number 1",
        output="sympy",
        confidence=0.5,
        alternatives=(("sympy", 0.5), ("django", 0.3)),
        subject=ledger.pseudonym("ada"),
        seconds=0.25,
    )


def test_the_same_request_id_twice_is_one_answer(ledger, ask):
    ask(1, output="sympy")
    ask(1, output="django")
    assert [row.output for row in ledger.answers()] == ["sympy"]


def test_feedback_rows_are_numbered_in_order_without_gaps(ledger, ask):
    request = ask(1)
    assert [give(ledger, number, request) for number in range(5)] == [1, 2, 3, 4, 5]
    assert ledger.cut() == 5


def test_the_same_feedback_id_twice_is_one_row_with_the_first_ones_sequence(ledger, ask):
    request = ask(1)
    give(ledger, 1, request)
    assert give(ledger, 2, request, kind="correct", correction="mne") == 2
    assert give(ledger, 2, request, kind="correct", correction="mne") == 2
    assert give(ledger, 3, request) == 3
    assert ledger.num_feedback() == {"approve": 2, "correct": 1}
    assert [fate.fate for fate in ledger.fate_of("feedback-2")] == ["received"]


def test_the_same_feedback_id_with_other_content_is_refused(ledger, ask):
    request = ask(1)
    give(ledger, 1, request, kind="correct", correction="mne")
    with pytest.raises(UsageError, match="already kept with other content"):
        give(ledger, 1, request, kind="correct", correction="keras")
    assert ledger.feedback()[0].correction == "mne"


def test_feedback_about_no_answer_is_refused_and_leaves_nothing(ledger):
    with pytest.raises(UsageError, match="no answer with request id 'nothing'"):
        give(ledger, 1, "nothing")
    assert (ledger.cut(), ledger.num_undelivered(), ledger.fate_of("feedback-1")) == (0, 0, [])


def test_an_unknown_kind_is_refused(ledger, ask):
    with pytest.raises(UsageError, match="no feedback kind 'praise'"):
        give(ledger, 1, ask(1), kind="praise")


def test_threads_that_write_at_once_lose_nothing_and_share_no_number(ledger, ask):
    requests = [ask(number) for number in range(40)]
    found: list[int] = []

    def write(first: int) -> None:
        found.extend(give(ledger, number, requests[number]) for number in range(first, 40, 4))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 41))


def test_two_writers_of_the_same_id_make_one_row(settings, ledger, ask):
    request = ask(1)
    found: list[int] = []
    barrier = threading.Barrier(4)

    def write() -> None:
        with Ledger(settings) as own:
            barrier.wait()
            found.append(give(own, 1, request))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1, 1]
    assert ledger.num_feedback() == {"approve": 1}


@on_sqlite
def test_nobodys_name_is_in_the_file(ledger, ask, settings):
    give(ledger, 1, ask(1, subject="ada@example.org"), subject="ada@example.org")
    ledger.close()
    content = b"".join(path.read_bytes() for path in settings.workspace.root.glob("ledger.db*"))
    assert b"ada@example" not in content


def test_personal_data_is_masked_the_same_way_in_prompt_and_correction(ledger, ask):
    request = ask(1, text="Mail bob@x.org or eve@y.org", output="Done: eve@y.org")
    give(ledger, 1, request, kind="correct", correction="Only eve@y.org")
    row = ledger.feedback()[0]
    assert (row.text, row.output, row.correction) == (
        "Mail [EMAIL_1] or [EMAIL_2]",
        "Done: [EMAIL_2]",
        "Only [EMAIL_2]",
    )


def test_what_is_masked_is_a_setting_and_a_kind_that_does_not_exist_is_refused(settings):
    with Ledger(settings.model_copy(update={"mask": "phone, KEY"})) as ledger:
        given = {"table": "library", "model": _ref(), "template_sha256": "", "generation": {}, "output": "a"}
        ledger.record_answer("m1", text="bob@x.org or +49 30 901820", **given)
        assert ledger.answer("m1").text == "bob@x.org or [PHONE_1]"
    with pytest.raises(ValueError, match="unknown kind 'SHOES'"):
        Settings(mask="shoes")


def test_a_raw_prompt_is_kept_for_its_retention_and_then_gone_from_the_files(ledger, ask, clock, settings):
    request = ask(1, text="call me: a-very-rare-phrase")
    clock.time += 29 * 86_400
    assert (ledger.purge_raw_prompts(), ledger.raw_prompt(request)) == (0, "call me: a-very-rare-phrase")
    clock.time += 2 * 86_400
    assert ledger.raw_prompt(request) is None, "past its retention it is not given out, purged or not"
    assert (ledger.purge_raw_prompts(), ledger.purge_raw_prompts()) == (1, 0)
    assert ledger.answer(request).text == "call me: a-very-rare-phrase", "the masked copy stays"


@on_sqlite
def test_what_is_purged_leaves_the_database_and_its_log(ledger, ask, clock, settings):
    ask(1, text="write to bob-the-only@x.org")
    clock.time += 31 * 86_400
    ledger.purge_raw_prompts()
    content = b"".join(path.read_bytes() for path in settings.workspace.root.glob("ledger.db*"))
    assert b"bob-the-only" not in content and b"[EMAIL_1]" in content


@on_sqlite
def test_no_raw_prompt_is_kept_under_a_retention_of_no_days(monkeypatch, settings):
    monkeypatch.setenv("BANYAN_PROMPT_RETENTION_DAYS", "0")
    with Ledger(Settings()) as ledger:
        ledger.record_answer(
            "r1", table="library", model=_ref(), template_sha256="", generation={}, text="bob@x.org", output="a"
        )
        assert ledger.raw_prompt("r1") is None
    content = b"".join(path.read_bytes() for path in settings.workspace.root.glob("ledger.db*"))
    assert b"bob@x.org" not in content


@on_sqlite
def test_every_commit_reaches_the_disk(ledger, settings):
    with ledger._database.read() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


def test_a_retried_step_adds_no_fate(ledger, ask):
    give(ledger, 1, ask(1))
    steps = [ledger.fate("feedback-1", "admitted", data_version="d1")]
    assert (ledger.append_fates(steps), ledger.append_fates(steps)) == (1, 0)
    assert [fate.fate for fate in ledger.fate_of("feedback-1")] == ["received", "admitted"]


def test_fates_of_rows_that_are_not_there_are_refused_together(ledger, ask):
    give(ledger, 1, ask(1))
    with pytest.raises(LedgerError, match="could not be written"):
        ledger.append_fates([Fate("feedback-1", 1.0, "admitted"), Fate("nobody", 1.0, "admitted")])
    assert len(ledger.fate_of("feedback-1")) == 1


def test_a_lease_is_held_by_one_and_lapses_by_itself(ledger, clock):
    assert ledger.lease("retrain.library", holder="a", seconds=60)
    assert ledger.lease("retrain.library", holder="a", seconds=60), "its holder renews it"
    assert not ledger.lease("retrain.library", holder="b", seconds=60)
    ledger.release("retrain.library", holder="b")
    assert ledger.is_leased("retrain.library")
    clock.time += 61
    assert not ledger.is_leased("retrain.library")
    assert ledger.lease("retrain.library", holder="b", seconds=60)
    ledger.release("retrain.library", holder="b")
    assert not ledger.is_leased("retrain.library")


def test_the_same_verdict_twice_is_one_row(ledger):
    for _ in range(2):
        ledger.record_verdict(_ref(2), _Verdict(), champion=_ref(1), metric="accuracy", data_version="d")
    ledger.record_verdict(_ref(2), _Verdict(), champion=None, metric="accuracy", data_version="d")
    assert [(row.against, row.against_version, row.policy["num_resamples"]) for row in ledger.verdicts()] == [
        ("champion", 1, 10_000),
        ("baseline", 0, 10_000),
    ]


def test_a_cost_that_is_recorded_again_replaces_the_earlier_one(ledger):
    for seconds in (10.0, 25.0):
        ledger.record_cost("run", "train", subject_name="banyan-library", device="cpu", seconds=seconds)
    ledger.record_cost("run", "evaluate", subject_name="banyan-library", device="cpu", seconds=3.0)
    assert [(cost.stage, cost.seconds) for cost in ledger.costs("run")] == [("train", 25.0), ("evaluate", 3.0)]


def test_what_is_refused_by_others_comes_back_later(ledger, ask, clock):
    give(ledger, 1, ask(1))
    ledger.mark_failed(ledger.undelivered(), error="refused", retry_in_seconds=60)
    assert ledger.undelivered() == []
    clock.time += 61
    (row,) = ledger.undelivered()
    assert (row.num_attempts, row.last_error) == (1, "refused")
    ledger.mark_delivered([row])
    assert ledger.num_undelivered() == 0
    clock.time += 8 * 86_400
    assert ledger.prune_outbox() == 1


def test_a_ledger_of_another_schema_version_is_not_touched(ledger, settings):
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE counters SET value = 99 WHERE name = 'schema'")
    with pytest.raises(LedgerError, match="has schema version 99; this Banyan reads"):
        Ledger(settings)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////proc/none/ledger.db", "mongodb://x/y"])
def test_a_ledger_that_cannot_be_opened_says_so(monkeypatch, settings, url):
    monkeypatch.setenv("BANYAN_LEDGER_URL", url)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(Settings())


@on_sqlite
def test_a_file_that_is_no_database_says_so(settings):
    settings.workspace.root.mkdir(parents=True)
    settings.workspace.ledger.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(LedgerError, match="file is not a database"):
        Ledger(settings)


def test_an_error_quotes_nobodys_words(ledger):
    with pytest.raises(LedgerError) as caught:
        ledger.append_fates([Fate("nobody", 1.0, "admitted", reason="a private remark")])
    assert "private remark" not in str(caught.value)


def _ref(version: int = 1):
    from components.refs import ModelRef

    return ModelRef(name="banyan-library", version=version, run_id="r", weights_sha256="0" * 64)


class _Verdict:
    verdict, difference, low, high, p_value = "promote", 0.1, 0.05, 0.15, 0.001
    num_examples, num_more_needed, policy = 1000, None, GatePolicy()
