"""From feedback to a version trained by what people prefer: gathered, trained, registered, verified, on real stores."""

import shutil
from collections.abc import Iterator

import pandas as pd
import pytest

from components import assets
from components.data import versioning
from components.errors import DataError, DataStoreError, MappingError, RecipeError, VersionNotFound
from components.evaluation import candidate
from components.feedback.retraining import prefer, tell_preferred
from components.ledger.store import Ledger
from components.recipes import Preference, parse_recipe
from components.registry import Registry
from components.settings import Settings
from components.training import preference_rows
from components.training import run as training
from components.training.dry_run import dry_run
from components.training.verify import verify
from flows.own import recipe_for, training_request

SAID = "filter the brain signal number"
LIKED = "It does waves, and it says so."


@pytest.fixture(scope="module")
def own(installation, small_llama) -> Iterator[Settings]:
    """The installation with base weights of a few thousand numbers."""
    folder = assets._weights_folder(assets.get_asset("smollm2"), installation)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(small_llama, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(installation.workspace.root.parent)  # without a server MLflow keeps artifacts where it stands
        patch.setenv("MLFLOW_TRACKING_URI", str(installation.mlflow_url))
        yield installation


@pytest.fixture
def liked(write_lines) -> Preference:
    shared = write_lines.model_dump() | {"kind": "preference", "base": "champion", "learning_rate": 3e-2}
    return Preference.model_validate(shared | {"name": "liked", "precision": "fp32", "max_test_rows": 3})


@pytest.fixture(scope="module")
def tuned(own):
    """The champion that people talk of."""
    recipe = parse_recipe(
        {"kind": "finetune", "name": "lines", "task": "summarisation", "table": "lines", "base": "smollm2"}
        | {"num_steps": 2, "batch_size": 4, "max_length_tokens": 64, "max_new_tokens": 8, "learning_rate": 1e-2}
        | {"precision": "fp32", "device": "cpu"}
    )
    data = versioning.head(own)
    run = training.train(recipe, data=data, settings=own)
    ref = candidate.register(recipe, run=run, data=data, settings=own)
    Registry(own.mlflow_url).set_alias(ref)
    with Ledger(own) as ledger:
        for number, kind in enumerate(("correct", "correct", "prefer", "approve", "reject", "correct")):
            text = (
                f"filter the brain signal number {40 + number}" if number < 5 else "filter the brain signal number 25"
            )
            for name, output in ((f"r{number}", "It does graphs."), (f"o{number}", "No idea.")):
                ledger.record_answer(
                    *(name,), table="lines", model=ref, template_sha256="t", generation={}, text=text, output=output
                )
            more = {"correct": {"correction": LIKED}, "prefer": {"other_request_id": f"o{number}"}}.get(kind, {})
            ledger.record_feedback(f"f{number}", request_id=f"r{number}", kind=kind, **more)
    return ref


def test_before_there_is_a_champion_or_a_preference_it_is_said(own, liked):
    data = versioning.head(own)
    with pytest.raises(VersionNotFound, match="no champion"):
        prefer(liked, data=data, settings=own)
    with pytest.raises(DataError, match="nothing to learn from"):
        prefer(liked.model_copy(update={"base": "smollm2"}), data=data, settings=own)
    with pytest.raises(MappingError, match="is of task classification"):
        prefer(liked.model_copy(update={"table": "topics"}), data=data, settings=own)


def test_the_rows_are_what_screening_leaves_and_the_recipe_names_them_and_its_base(own, tuned, liked):
    found = prefer(liked, data=versioning.head(own), settings=own)
    assert found.base == "banyan-lines@1"
    rows = preference_rows.read(found.rows, runs=own.workspace.runs)
    assert set(rows["chosen"]) == {LIKED, "It does graphs."} and set(rows["rejected"]) == {
        "It does graphs.",
        "No idea.",
    }
    assert not rows["prompt"].str.contains("number 25").any(), "a text of the test split teaches nothing"
    assert prefer(found, data=versioning.head(own), settings=own) == found, "rows that are named stay"
    by_thumbs = prefer(liked.model_copy(update={"method": "kto"}), data=versioning.head(own), settings=own)
    thumbs = preference_rows.read(by_thumbs.rows, runs=own.workspace.runs)
    assert thumbs["label"].dtype == bool and {True, False} == set(thumbs["label"])


def test_a_version_trained_by_preference_is_registered_verified_and_never_retrained_by(own, tuned, liked, tmp_path):
    data = versioning.head(own)
    recipe = prefer(liked, data=data, settings=own)
    run = training.train(recipe, data=data, settings=own)
    assert run.lock["parent"] == tuned.weights_sha256 != run.weights_sha256
    assert set(run.lock["tables"]) == {"lines dpo"}
    scores = candidate.measure(recipe, run=run, data=data, settings=own)
    reference = candidate.measure_reference(recipe, data=data, settings=own)
    asked = candidate.measure_again(tuned, on=_info(recipe, data), settings=own)
    assert list(reference.rows()["prediction"]) == list(asked["prediction"]), (
        "the reference answers as the champion does"
    )
    ref = candidate.register(recipe, run=run, data=data, settings=own, scores=scores, reference=reference)
    info = Registry(own.mlflow_url).get(ref)
    assert info.metrics["reference_rougeL"] == reference.metrics["rougeL"]
    assert "what it started from" in info.card and recipe.rows[:16] in info.card
    assert tell_preferred(recipe, data=data, model=ref, settings=own) == 3
    with Ledger(own) as ledger:
        told = {name: [one.fate for one in ledger.fate_of(name)] for name in ("f0", "f2", "f3", "f5")}
        liked_more = {name: ledger.fate_of(name)[-1].effect for name in ("f0", "f1", "f2")}
        assert ledger.corrected_now_right("lines") is None, "what is liked more is no share of right answers"
        assert ledger.effects("lines") == []
    # a thumb alone makes no pair, and what is said of a test text teaches nothing
    assert told == {
        "f0": ["received", "trained", "measured"],
        "f2": ["received", "trained", "measured"],
        "f3": ["received"],
        "f5": ["received"],
    }
    for effect in liked_more.values():
        assert effect["by"] == "preference" and effect["output_after"]
        assert 0 < effect["score_before"] <= effect["score_after"] < 1
    # Cut to eight tokens, a correction that begins as the answer does is the same: only the preference can show more.
    assert liked_more["f2"]["score_before"] < liked_more["f2"]["score_after"], "it was trained to like it more"
    assert tell_preferred(recipe, data=data, model=ref, settings=own) == 3
    with Ledger(own) as ledger:
        assert len(ledger.fate_of("f0")) == 3, "told twice, it is there once"
    Registry(own.mlflow_url).set_alias(ref)
    assert candidate.recipe_of("lines", settings=own).kind == "finetune", "a retraining learns from right answers"

    elsewhere = own.model_copy(update={"workspace_dir": tmp_path, "data_remote": str(own.workspace.remote)})
    found = verify(ref, settings=elsewhere)
    assert (found.verdict, found.environment) == ("identical", ()), "its rows come from the run"


def test_thumbs_and_ratings_are_measured_by_how_likely_the_model_finds_what_was_judged(own, tuned, liked):
    data = versioning.head(own)
    with Ledger(own) as ledger:
        for number, rating in enumerate((5, 1)):
            for_table = {"table": "lines", "model": tuned, "template_sha256": "t", "generation": {}}
            text = f"filter the brain signal number {60 + number}"
            ledger.record_answer(f"k{number}", text=text, output=("No idea." if number else "Waves."), **for_table)
            ledger.record_feedback(f"g{number}", request_id=f"k{number}", kind="rate", rating=rating)
    # Named: the champion of now may be another test's.
    recipe = liked.model_copy(update={"name": "thumbs", "method": "kto", "base": "banyan-lines@1"})
    recipe = prefer(recipe, data=data, settings=own)
    run = training.train(recipe, data=data, settings=own)
    ref = candidate.register(
        recipe, run=run, data=data, settings=own, scores=candidate.measure(recipe, run=run, data=data, settings=own)
    )
    assert tell_preferred(recipe, data=data, model=ref, settings=own) >= 4
    with Ledger(own) as ledger:
        steps = {name: ledger.fate_of(name)[-1] for name in ("g0", "g1")}
    assert {step.fate for step in steps.values()} == {"measured"}
    for step in steps.values():
        assert 0 < step.effect["score_before"] < 1
    assert steps["g0"].effect["score_after"] > steps["g0"].effect["score_before"], "more likely: it was liked"


def _info(recipe, data):
    from types import SimpleNamespace

    return SimpleNamespace(
        tags={candidate.RECIPE_TAG: recipe.model_dump_json()}, data_version=data.version, ref="the challenger"
    )


def test_a_dry_run_goes_through_everything(own, tuned, liked):
    data = versioning.head(own)
    done = dry_run(prefer(liked, data=data, settings=own), data=data, settings=own)
    assert len(done.losses) == 2 and done.num_rows >= 3


def test_rows_that_are_gone_or_changed_are_not_trained_on(tmp_path):
    rows = pd.DataFrame([("i", "p\u2028q", "good", "bad")], columns=list(preference_rows.COLUMNS["dpo"]))
    name = preference_rows.keep(preference_rows.as_text(rows, method="dpo"), runs=tmp_path)
    assert preference_rows.read(name, runs=tmp_path).equals(rows)
    with pytest.raises(DataStoreError, match="not in this workspace"):
        preference_rows.read("0" * 64, runs=tmp_path)
    path = tmp_path / "preferences" / f"{name}.jsonl"
    path.write_text(path.read_text().replace("good", "evil"))
    with pytest.raises(DataStoreError, match="damaged"):
        preference_rows.read(name, runs=tmp_path)


def test_the_command_line_finds_the_flow_and_a_search_refuses_it(tmp_path):
    flow, given, chosen = training_request("summary-preference", table=None, changes=["method=kto"])
    assert (flow, given["recipe"]["method"], chosen.base) == ("preference", "kto", "champion")
    assert recipe_for("summarisation") == "summary", "what is proposed to a newcomer needs no feedback"
    path = tmp_path / "search.yaml"
    path.write_text("kind: search\nname: s\nrecipe: summary-preference\nspace: {beta: [0.1, 0.2]}\n")
    with pytest.raises(RecipeError, match="of kind preference"):
        training_request(str(path), table=None, changes=[])
