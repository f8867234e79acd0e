"""When a step is tried again, and what decides that it need not be done again."""

import pytest
from prefect import flow, task
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from components import assets
from components.errors import RegistryUnavailable, ValidationFailed
from components.recipes import (
    BookSource,
    CatalogueSource,
    DocstringSource,
    FileSource,
    GatePolicy,
    Ingest,
    InterpreterSource,
    PackageSource,
    TriggerPolicy,
)
from components.refs import DataRef, ModelRef
from flows import policies


@pytest.fixture(scope="module", autouse=True)
def prefect(tmp_path_factory):
    kept = {PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results"), PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(kept):
        yield


@pytest.mark.parametrize(("error", "calls"), [(RegistryUnavailable("no answer"), 3), (ValidationFailed("bad data"), 1)])
def test_a_step_is_tried_again_only_for_what_may_pass(error, calls):
    made = []

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=policies.only_transient)
    def step():
        made.append(1)
        raise error

    @flow
    def run():
        step()

    with pytest.raises(type(error)):
        run()
    assert len(made) == calls


def test_refs_come_back_from_their_json_as_what_they_were(tmp_path):
    made = []

    @task(**policies.KEPT, cache_key_fn=lambda *_: "one")
    def step():
        made.append(1)
        return ModelRef(name="banyan-library", version=3, run_id="r", weights_sha256="w")

    @flow
    def run():
        return step()

    assert run() == run() == ModelRef(name="banyan-library", version=3, run_id="r", weights_sha256="w")
    assert len(made) == 1


def test_force_does_a_cached_step_again_and_keeps_what_it_then_gives():
    made = []

    @task(**policies.KEPT, cache_key_fn=lambda *_: "counted")
    def step():
        made.append(1)
        return len(made)

    @flow
    def run(force):
        with policies.fresh(force):
            return step()

    assert [run(False), run(False), run(True), run(False)] == [1, 1, 2, 2]


def ingest(*sources, **more):
    return Ingest(name="x", sources=sources, **more)


def key_of(recipe):
    return policies.ingest_key(None, {"recipe": recipe})


def test_an_ingest_is_known_by_the_content_of_its_file_not_by_its_date(tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,b\n")
    recipe = ingest(FileSource(path=path, table="t", task="classification"))
    before = key_of(recipe)
    path.touch()
    assert key_of(recipe) == before
    path.write_text("text,label\na,c\n")
    assert key_of(recipe) != before


@pytest.mark.parametrize(
    "source",
    [
        PackageSource(assets=("networkx",)),
        DocstringSource(assets=("networkx",), task="code", table="t"),
        CatalogueSource(assets=("networkx",), target_languages=("de",), table="t"),
    ],
)
def test_an_ingest_of_packages_is_known_by_what_they_are_pinned_to(source, tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    known = assets.load_assets()
    before = key_of(ingest(source))
    other = known | {"networkx": known["networkx"].model_copy(update={"sha256": "0" * 64})}
    monkeypatch.setattr(assets, "load_assets", lambda: other)
    assert key_of(ingest(source)) != before


def test_an_ingest_of_a_folder_is_known_by_its_files_and_one_of_an_address_is_never_known(tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.csv").write_text("text,label\na,b\n")
    recipe = ingest(FileSource(path=folder, table="t", task="classification"))
    before = key_of(recipe)
    assert key_of(recipe) == before
    (folder / "b.csv").write_text("text,label\na,b\n")
    assert key_of(recipe) != before
    assert key_of(ingest(FileSource(url="https://example.org/a.csv", table="t", task="classification"))) is None


def test_an_ingest_is_known_by_its_recipe_and_its_sources():
    keys = {
        key_of(recipe)
        for recipe in (
            ingest(InterpreterSource()),
            ingest(InterpreterSource(), seed=1),
            ingest(BookSource(asset="shakespeare")),
        )
    }
    assert len(keys) == 3


def test_a_version_is_judged_once_a_policy_whoever_is_champion():
    model = ModelRef(name="banyan-library", version=3, run_id="r", weights_sha256="w")

    def key(**given):
        return policies.judging_key(None, {"model": model, "policy": GatePolicy(), **given})

    assert key() == key()
    assert key() != key(policy=GatePolicy(minimum_difference=0.01))
    assert key() != key(model=model.model_copy(update={"version": 4}))


def test_the_installations_policies_are_the_recipes_in_the_tree():
    assert isinstance(policies.gate(None), GatePolicy)
    assert policies.gate(GatePolicy(confidence_level=0.9)).confidence_level == 0.9
    assert isinstance(policies.trigger(), TriggerPolicy)


def test_a_data_ref_in_a_deployments_parameters_is_plain_json():
    from flows.waiting import _plain

    ref = DataRef(version="v", tables={"library": "sha"})
    assert _plain(ref) == {"version": "v", "tables": {"library": "sha"}}
