"""Runs are named so that a person can tell one from another."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from components.refs import DataRef
from flows.deployments import BELLS, DEPLOYMENTS, load_flow
from flows.run_names import asked_by, name_of

DUE = datetime(2026, 3, 1, 3, 17, tzinfo=UTC)
DATA = DataRef(version="0123456789abcdef0123456789abcdef", tables={})


@pytest.mark.parametrize(
    ("text", "given", "by", "name"),
    [
        ("retrain {table}", {"table": "library", "cut": None, "data": None}, "", "retrain library · 03-01 03:17"),
        ("retrain {table}", {"table": "library", "cut": 684}, "nightly",
         "retrain library up to 684 · nightly · 03-01 03:17"),
        ("evaluate {table}", {"table": "library", "version": 3, "data": DATA}, "",
         "evaluate library v3 on data 01234567 · 03-01 03:17"),
        ("promote {table} v{version}", {"table": "library", "version": 3}, "", "promote library v3 · 03-01 03:17"),
    ],
)  # fmt: skip
def test_a_name_says_what_it_was_given_who_asked_and_when(text, given, by, name):
    assert name_of(text, given, by=by, due=DUE) == name


def test_the_time_is_utc_wherever_the_machine_is():
    in_shanghai = DUE.astimezone(timezone(timedelta(hours=8)))
    assert name_of("loop", {}, by="", due=in_shanghai) == "loop · 03-01 03:17"


def test_a_run_says_who_asked_for_it():
    automations = [asked_by(["banyan"], kind="AUTOMATION", name=f"banyan: {bell.name}") for bell in BELLS]
    assert automations == ["enough feedback", "new data", "what was put off", "a failed canary"]
    assert asked_by(["banyan"], kind="SCHEDULE", name="nightly") == "nightly"
    assert asked_by(["banyan", "by:dashboard"], kind="", name="") == "dashboard"
    assert asked_by(["banyan"], kind="", name="") == ""


@pytest.mark.parametrize("entrypoint", sorted({one.entrypoint for one in DEPLOYMENTS}))
def test_every_flow_names_its_runs_so(entrypoint):
    name = load_flow(entrypoint).flow_run_name
    assert callable(name) and name.__module__ == "flows.run_names"
