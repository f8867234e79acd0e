"""The operators' door lets in by role and writes down what was asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import NotPermitted, RegistryError
from components.ledger.actions import Actor, may, perform, require
from components.ledger.store import Ledger
from components.settings import Settings


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(Settings(BANYAN_WORKSPACE=tmp_path)) as ledger:  # type: ignore[call-arg]
        yield ledger


def test_an_operators_action_is_done_and_written_down(ledger: Ledger) -> None:
    given = perform("rollback", subject="banyan-x", actor=Actor("ana", "operator"), ledger=ledger, do=lambda: "v2")
    row = ledger.actions()[0]
    assert (given, row.actor, row.action, row.subject, row.outcome, row.detail) == (
        "v2", "ana", "rollback", "banyan-x", "done", "v2",
    )  # fmt: skip


@pytest.mark.parametrize("role", ["viewer", "rater"])
def test_who_is_no_operator_is_refused_before_anything_is_done(role: str, ledger: Ledger) -> None:
    done: list[int] = []
    with pytest.raises(NotPermitted, match="needs the role operator"):
        perform("retrain", subject="x", actor=Actor("ben", role), ledger=ledger, do=lambda: done.append(1))  # type: ignore[arg-type]
    assert not done
    assert [(row.outcome, row.role) for row in ledger.actions()] == [("refused", role)]


def test_what_fails_is_kept_as_failed_with_its_reason(ledger: Ledger) -> None:
    def broken() -> None:
        raise RegistryError("MLflow said no")

    with pytest.raises(RegistryError):
        perform("rollback", subject="x", actor=Actor("ana", "operator"), ledger=ledger, do=broken)
    assert (ledger.actions()[0].outcome, ledger.actions()[0].detail) == ("failed", "MLflow said no")


def test_what_a_crash_interrupts_stays_asked(ledger: Ledger) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform("rollback", subject="x", actor=Actor("ana", "operator"), ledger=ledger, do=killed)
    assert ledger.actions()[0].outcome == "asked"


def test_a_rater_may_judge_and_a_viewer_may_not(ledger: Ledger) -> None:
    require("feedback", subject="x", actor=Actor("ben", "rater"), ledger=ledger)
    assert not ledger.actions()
    with pytest.raises(NotPermitted, match="needs the role rater"):
        require("feedback", subject="x", actor=Actor("eve", "viewer"), ledger=ledger)
    assert ledger.actions()[0].outcome == "refused"


def test_an_action_that_nobody_has_named_takes_an_operator() -> None:
    assert not may(Actor("ben", "rater"), "burn-it-down")
    assert may(Actor("ana", "operator"), "burn-it-down")
