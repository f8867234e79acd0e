import json

import filelock
import pytest

from components.data import versioning
from components.errors import DataError, RecipeError
from components.recipes import Finetune, Search, parse_recipe
from components.training import search as searching
from components.training.search import search

SPACE = {"learning_rate": {"low": 1e-7, "high": 3e-2, "log": True}, "optimizer": ["adamw", "sgd"]}


def wanted(**fields) -> Search:
    given = {"name": "s", "recipe": "topics", "space": SPACE, "max_trials": 5, "minimum_validation_rows": 2}
    return Search(**{**given, **fields})


@pytest.fixture
def base(installation, small_bert, monkeypatch):
    monkeypatch.setattr(searching.bases, "weights", lambda *_, **__: small_bert)


@pytest.fixture
def settings(installation, tmp_path):
    """The installation's data, and a workspace of its own for the trials."""
    settings = installation.model_copy(update={"workspace_dir": tmp_path / "workspace"})
    settings.workspace.root.mkdir()
    settings.workspace.data.symlink_to(installation.workspace.data)
    return settings


def test_the_best_trial_is_what_is_to_be_trained_and_the_rest_is_told(base, settings, classify):
    lines = []
    found = search(wanted(), classify, data=versioning.head(settings), settings=settings, watch=lines.append)
    finished = [trial for trial in found.trials if trial.state == "finished"]
    assert len(found.trials) == len(lines) == 5
    assert found.best.loss == min(trial.loss for trial in finished) < max(trial.loss for trial in finished)
    assert found.recipe == Finetune(**{**classify.model_dump(), **found.best.fields})
    assert found.recipe.validation_share == 0, "the best is trained on all rows"
    assert json.loads(found.path.read_text())["best"]["number"] == found.best.number
    assert len(found.lines()) == 5
    assert f"→ trial {found.best.number}:" in found.lines()[0]
    assert not list(found.path.parent.glob("trial-*")), "no trial leaves its weights"


def test_a_trial_takes_its_turn_on_the_device_like_any_training(base, settings, classify, monkeypatch):
    train = searching.finetune

    def is_held(*args, **named):
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(settings.workspace.locks / "device-cpu.lock").acquire(timeout=0)
        return train(*args, **named)

    monkeypatch.setattr(searching, "finetune", is_held)
    on_cpu = classify.model_copy(update={"device": "cpu"})
    assert len(search(wanted(max_trials=1), on_cpu, data=versioning.head(settings), settings=settings).trials) == 1


def test_asked_again_it_knows_what_it_has_found_and_a_kill_loses_the_trial_that_it_was_at(
    base, settings, classify, monkeypatch
):
    data, train, count = versioning.head(settings), searching.finetune, []

    def kill_the_third(*args, **named):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return train(*args, **named)

    monkeypatch.setattr(searching, "finetune", kill_the_third)
    with pytest.raises(KeyboardInterrupt):
        search(wanted(max_trials=4), classify, data=data, settings=settings)
    found = search(wanted(max_trials=4), classify, data=data, settings=settings)
    assert len(found.trials) == 4
    assert len(count) == 5, "the interrupted one does not count"
    again = search(wanted(max_trials=4), classify, data=data, settings=settings)
    assert again.trials == found.trials
    assert len(count) == 5


def test_the_first_trial_is_the_recipe_as_it_is(base, settings, classify):
    space = SPACE | {"weight_decay": {"low": 0.5, "high": 0.9}}
    found = search(wanted(space=space, max_trials=2), classify, data=versioning.head(settings), settings=settings)
    own = {"learning_rate": classify.learning_rate, "optimizer": classify.optimizer}
    assert own.items() <= found.trials[0].fields.items()
    assert 0.5 <= found.trials[0].fields["weight_decay"] <= 0.9, "what lies outside of the space is proposed"
    assert not own.items() <= found.trials[1].fields.items()


def test_a_search_that_was_killed_in_its_first_trial_begins_with_the_recipe_again(
    base, settings, classify, monkeypatch
):
    data = versioning.head(settings)
    with monkeypatch.context() as killed:
        killed.setattr(searching, "_run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search(wanted(max_trials=1), classify, data=data, settings=settings)
    (trial,) = search(wanted(max_trials=1), classify, data=data, settings=settings).trials
    assert trial.fields == {"learning_rate": classify.learning_rate, "optimizer": classify.optimizer}


def test_trials_may_be_judged_by_what_the_gate_compares(base, settings, classify, monkeypatch):
    monkeypatch.setattr(searching, "_score", lambda *_: [0.5, 0.75, 0.75, 0.25][len(asked)])
    asked: list[str] = []
    data = versioning.head(settings)
    judged = wanted(max_trials=4, judge="score", stop_early=False)
    found = search(judged, classify, data=data, settings=settings, watch=asked.append)
    assert [trial.score for trial in found.trials] == [0.5, 0.75, 0.75, 0.25]
    assert found.best == min(found.trials[1:3], key=lambda trial: trial.loss), "of equal scores the one that loses less"
    assert [trial.score for trial in found.ranked()] == [0.75, 0.75, 0.5, 0.25]
    assert "score 0.7500" in found.lines()[0]


def test_a_score_is_the_share_of_held_out_rows_that_are_right(base, settings, classify):
    found = search(wanted(max_trials=1, judge="score"), classify, data=versioning.head(settings), settings=settings)
    assert found.best.score * found.validation_rows == pytest.approx(round(found.best.score * found.validation_rows))
    assert 0 <= found.best.score <= 1


def test_the_same_seed_proposes_the_same_trials(base, settings, classify):
    data = versioning.head(settings)
    one = search(wanted(name="one", max_trials=2), classify, data=data, settings=settings)
    two = search(wanted(name="two", max_trials=2), classify, data=data, settings=settings)
    assert [trial.fields for trial in one.trials] == [trial.fields for trial in two.trials]
    assert [trial.loss for trial in one.trials] == [trial.loss for trial in two.trials]


def test_no_trial_begins_when_the_minutes_are_over(base, settings, classify):
    found = search(wanted(minutes=1e-6), classify, data=versioning.head(settings), settings=settings)
    assert len(found.trials) == 1


def test_trials_that_lag_behind_are_stopped(base, settings, classify):
    data, space = versioning.head(settings), {"learning_rate": [1e-2, 1.1e-2, 1e-9]}
    found = search(wanted(max_trials=9, space=space), classify, data=data, settings=settings)
    stopped = [trial for trial in found.trials if trial.state == "stopped"]
    assert stopped
    assert all(trial.loss > found.best.loss for trial in stopped)
    never = search(wanted(max_trials=4, space=space, stop_early=False), classify, data=data, settings=settings)
    assert {trial.state for trial in never.trials} == {"finished"}


def test_fields_that_do_not_go_together_fail_their_trial_and_no_other(base, settings, classify):
    space = {"momentum": [None, 0.9], "optimizer": ["sgd", "adamw"]}
    found = search(wanted(space=space, max_trials=6), classify, data=versioning.head(settings), settings=settings)
    failed = [trial.fields for trial in found.trials if trial.state == "failed"]
    assert all(fields == {"momentum": 0.9, "optimizer": "adamw"} for fields in failed)
    assert found.best.state == "finished"


def test_the_length_that_is_searched_takes_the_others_place(base, settings, classify):
    space = {"num_epochs": [0.2, 0.5]}
    found = search(wanted(space=space, max_trials=2), classify, data=versioning.head(settings), settings=settings)
    assert (found.recipe.num_steps, found.recipe.num_epochs) == (None, found.best.fields["num_epochs"])


def test_too_few_rows_to_judge_by_are_told_before_anything_is_trained(base, settings, classify):
    with pytest.raises(DataError, match="held out to judge the trials by"):
        search(wanted(minimum_validation_rows=20), classify, data=versioning.head(settings), settings=settings)


@pytest.mark.parametrize(
    "space,reason",
    [
        ({"learning_rat": [1, 2]}, "no field learning_rat"),
        ({"seed": [1, 2]}, "not for a search to choose"),
        ({"learning_rate": [1]}, "one choice is none"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "no logarithm"),
        ({"learning_rate": {"low": 2, "high": 1}}, "not below"),
        ({}, "at least 1"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space, reason, base, settings, classify):
    content = {"kind": "search", "name": "s", "recipe": "topics", "space": space, "minimum_validation_rows": 2}
    with pytest.raises(RecipeError, match=reason):
        search(parse_recipe(content), classify, data=versioning.head(settings), settings=settings)
