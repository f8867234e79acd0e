"""The ecosystem's facts hang together, and live state follows its rules."""

import itertools

import pytest

from components.assets import load_assets
from components.ecosystem import (
    APPLICATIONS,
    FAMILIES,
    FAMILY_OF_BASE,
    NODE_OF_FAMILY,
    STAGES,
    STATES,
    Observation,
    grown,
    stage_of,
    state_of,
)
from components.models import families as models


def test_the_loop_has_the_seven_stations_in_their_order() -> None:
    names = [stage.name for stage in STAGES]
    assert names == [
        "data", "preprocessing", "training", "optimisation", "deployment", "application", "feedback"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Observation(None, is_answered=False), "failed"),
        (Observation(None, is_answered=False, is_working=True), "failed"),
        (Observation(5, is_answered=False, is_working=True), "stale"),
        (Observation(0, is_answered=False), "stale"),
        (Observation(0, is_working=True), "working"),
        (Observation(5, is_working=True, has_failed=True), "working"),
        (Observation(5, has_failed=True), "failed"),
        (Observation(0), "empty"),
        (Observation(0, is_waiting=True), "empty"),
        (Observation(5, is_waiting=True), "waiting"),
        (Observation(5), "ready"),
    ],
)
def test_the_first_rule_that_holds_decides_the_state(seen: Observation, state: str) -> None:
    assert state_of(seen) == state


def test_every_observation_has_a_state() -> None:
    flags = itertools.product((None, 0, 3), *[(True, False)] * 4)
    assert {state_of(Observation(*each)) for each in flags} == set(STATES)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("ingest", "data"),
        ("build, validate, version demo-data", "preprocessing"),
        ("pretrain", "training"),
        ("retrain/cpu", "training"),
        ("train library", "training"),
        ("measure the baseline", "optimisation"),
        ("gate banyan-library v2", "optimisation"),
        ("register library", "deployment"),
        ("promote", "deployment"),
        ("wait for the gateway: library", "deployment"),
        ("scripted rater on library", "application"),
        ("collect the feedback on library", "feedback"),
        ("tell what became of the feedback", "feedback"),
        ("loop", None),
        ("wait for the retraining that starts by itself: library", None),
        ("", None),
    ],
)
def test_a_run_is_at_the_stage_that_its_name_says(name: str, stage: str | None) -> None:
    assert stage_of(name) == stage


def test_the_tree_is_that_of_the_overview() -> None:
    edges = {(parent, family.name) for family in FAMILIES for parent in family.parents}
    assert edges == {
        ("nlp", "deep_learning"), ("deep_learning", "neural_networks"), ("neural_networks", "feedforward"),
        ("neural_networks", "rnn"), ("rnn", "lstm"), ("rnn", "gru"), ("neural_networks", "transformer"),
        ("transformer", "bert"), ("transformer", "gpt"),
        ("bert", "pretraining"), ("gpt", "pretraining"),
    }  # fmt: skip


def test_a_parent_comes_before_its_children() -> None:
    seen: set[str] = set()
    for family in FAMILIES:
        assert set(family.parents) <= seen
        seen.add(family.name)


def test_every_family_names_its_paper() -> None:
    for family in FAMILIES:
        assert 1940 < family.year < 2030
        assert family.paper.title and family.paper.authors
        assert family.paper.url.startswith("https://")


def test_an_lstm_stands_on_recurrence_and_not_on_attention() -> None:
    assert grown(["lstm"]) == {"lstm", "rnn", "neural_networks", "deep_learning", "nlp"}


def test_a_pretrained_family_bears_the_crown() -> None:
    assert "pretraining" in grown(["bert"])
    assert "pretraining" not in grown(["gru"])


def test_what_is_not_a_family_grows_nothing() -> None:
    assert grown([]) == frozenset()
    assert grown(["perceptron"]) == frozenset()


def test_base_weights_are_assets_and_their_families_are_in_the_tree() -> None:
    assert set(FAMILY_OF_BASE) <= set(load_assets())
    assert set(FAMILY_OF_BASE.values()) <= {family.name for family in FAMILIES}


def test_every_family_that_a_recipe_can_name_has_its_place_in_the_tree() -> None:
    trained = {NODE_OF_FAMILY.get(name, name) for name in models.FAMILIES}
    assert trained == {family.name for family in FAMILIES if family.is_trainable}
    assert set(NODE_OF_FAMILY) <= set(models.FAMILIES)


def test_a_task_serves_one_application_only() -> None:
    tasks = [task for application in APPLICATIONS for task in application.tasks]
    assert len(tasks) == len(set(tasks))
