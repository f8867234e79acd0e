"""The flows in order, on real stores and a model of a few thousand weights: data, candidate, feedback, retraining."""

import json
import logging
import os
import shutil
import subprocess
import sys
import uuid
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness
from safetensors.torch import load_file, save_file

from components import assets
from components.data import tables, versioning
from components.errors import NonFiniteLoss
from components.evaluation.candidate import RECIPE_TAG
from components.evaluation.robustness import model_in
from components.feedback.retraining import Collected, kept_aside
from components.feedback.subjects import is_kept_aside
from components.ledger.attempts import lease_name
from components.ledger.store import Ledger
from components.recipes import FileSource, Finetune, GatePolicy, Ingest, TriggerPolicy
from components.registry import Registry
from components.settings import Settings
from components.tasks import get_task
from components.training import lock
from flows import keys, policies, waiting
from flows.collect_feedback import collect_feedback
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.ingest import ingest
from flows.promote import promote
from flows.retrain import retrain
from flows.unchanged import Changed, looking
from tests.mlflow_server import MlflowServer
from tests.small_trainings import WORDS, write_small_bert

pytestmark = pytest.mark.slow

ANYTHING = GatePolicy(minimum_difference=-0.99)
"""A gate that whatever can answer passes: what is tested here is what the flows make of its verdict."""

RECIPE = Finetune(
    name="topics",
    task="classification",
    table="topics",
    base="minilm",
    num_steps=6,
    batch_size=4,
    max_length_tokens=24,
    learning_rate=1e-2,
    checkpoint_every_steps=2,
)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server.url


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mlflow):
    root = tmp_path_factory.mktemp("installation")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BANYAN_")]:
            patch.delenv(name)
        patch.setenv("BANYAN_WORKSPACE", str(root / "workspace"))
        patch.setenv("BANYAN_MLFLOW_URL", mlflow)
        torch.set_num_threads(1)
        made = Settings()
        weights = assets._weights_folder(assets.get_asset("minilm"), made)
        weights.parent.mkdir(parents=True)
        write_small_bert(weights)
        kept = {PREFECT_LOCAL_STORAGE_PATH: root / "results", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with prefect_test_harness(server_startup_timeout=120), temporary_settings(kept):
            yield made


@pytest.fixture(scope="module")
def data(settings, tmp_path_factory):
    labels = sorted(WORDS)
    rows = [(f"{WORDS[labels[i % 3]]} number {i}", labels[i % 3]) for i in range(120)]
    path = tmp_path_factory.mktemp("rows") / "topics.csv"
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    recipe = Ingest(name="topics", sources=(FileSource(path=path, table="topics", task="classification"),))
    return ingest(recipe)


@pytest.fixture(scope="module")
def first(settings, data):
    return finetune(RECIPE, data=data, policy=ANYTHING)


def give_feedback(settings, model, numbers, label, *, subject=None):
    with Ledger(settings) as ledger:
        for i in numbers:
            request = str(uuid.uuid4())
            text = f"{WORDS[label]} question {i}"
            ledger.record_answer(
                request,
                table="topics",
                model=model,
                template_sha256="t",
                generation={},
                text=text,
                output="web",
                confidence=0.5,
            )
            ledger.record_feedback(
                str(uuid.uuid4()), request_id=request, kind="correct", correction=label, subject=subject
            )


def test_an_ingest_of_a_file_is_a_version_and_the_same_file_the_same_one(settings, data):
    assert versioning.head(settings) == data
    assert len(tables.read_split(versioning.path_of(data, settings), "topics", "test")) > 10


def test_a_first_candidate_that_passes_is_champion_with_its_card_scores_and_lineage(settings, mlflow, data, first):
    registry = Registry(mlflow)
    assert registry.champion("banyan-topics") == first
    info = registry.get(first)
    assert info.data_version == data.version
    assert "may have seen these texts" in info.card and "TF-IDF" in info.card
    assert len(registry.per_example(first)) == len(registry.baseline(first))
    run = next(run for run in registry.runs("banyan-topics") if run.run_id == first.run_id)
    assert run.status == "FINISHED" and run.params["num_steps"] == "6"
    assert [step for step, _ in registry.history(first.run_id, "loss")] == [1, 2, 3, 4, 5, 6]


def test_the_same_again_trains_and_registers_nothing(settings, mlflow, data, first):
    before = len(Registry(mlflow).runs("banyan-topics"))
    assert finetune(RECIPE, data=data, policy=ANYTHING) == first
    assert len(Registry(mlflow).runs("banyan-topics")) == before
    assert len(Registry(mlflow).versions("banyan-topics")) == 1


def test_a_control_is_measured_and_never_promoted(settings, mlflow, data, first):
    control = RECIPE.model_copy(update={"name": "topics-control", "role": "control", "seed": 5})
    made = finetune(control, data=data, policy=ANYTHING)
    assert made != first
    assert Registry(mlflow).champion("banyan-topics") == first
    assert Registry(mlflow).get(made).role == "control"


def test_a_retraining_without_enough_feedback_ends_quietly_and_says_so(settings, first):
    give_feedback(settings, first, range(3), "graphs")
    state = retrain("topics", trigger=TriggerPolicy(minimum_feedback=50), return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "NotEnoughFeedback")
    assert "50 are enough" in state.message
    with Ledger(settings) as ledger:
        assert ledger.unconsumed("topics") == 3


def test_a_retraining_uses_the_feedback_once_and_tells_every_row_what_came_of_it(settings, mlflow, first):
    give_feedback(settings, first, range(10, 30), "waves")
    state = retrain("topics", policy=ANYTHING, return_state=True)
    assert state.is_completed(), state.message
    registry = Registry(mlflow)
    second = registry.champion("banyan-topics")
    assert second.version > first.version
    with Ledger(settings) as ledger:
        assert ledger.unconsumed("topics") == 0
        assert ledger.current_fates("topics")["measured"] == 23
        assert ledger.cuts("topics")[-1].outcome == "promote"
        assert ledger.corrected_now_right("topics", model_version=second.version) is not None
        assert [entry.to_version for entry in ledger.journal("banyan-topics") if entry.state == "done"] == [
            first.version,
            second.version,
        ]
    used = versioning.path_of(versioning.head(settings), settings)
    assert len(tables.read_split(used, "topics", "feedback")) == 23
    assert retrain("topics", return_state=True).name == "NotEnoughFeedback"


def test_the_first_training_again_leaves_the_champion_that_came_later(settings, mlflow, data, first):
    now = Registry(mlflow).champion("banyan-topics")
    assert now != first
    assert finetune(RECIPE, data=data, policy=ANYTHING) == first
    assert Registry(mlflow).champion("banyan-topics") == now


def test_while_one_retraining_is_at_work_another_ends_quietly(settings, first):
    give_feedback(settings, first, range(40, 42), "web")
    with Ledger(settings) as ledger:
        assert ledger.lease("retrain.topics", holder="somebody else", seconds=600)
    assert retrain("topics", return_state=True).name == "AlreadyRetraining"
    with Ledger(settings) as ledger:
        ledger.release("retrain.topics", holder="somebody else")


def test_a_retraining_that_fails_gives_its_claim_back(settings):
    broken = RECIPE.model_copy(update={"learning_rate": 1e30, "name": "broken"})
    state = retrain("topics", recipe=broken, return_state=True)
    assert state.is_failed() and "NonFiniteLoss" in state.message
    with Ledger(settings) as ledger:
        assert not ledger.is_leased("retrain.topics")
        assert ledger.unconsumed("topics") == 2


def test_feedback_can_be_collected_without_a_training(settings):
    with Ledger(settings) as ledger:
        cut = ledger.cut()
    collected = collect_feedback("topics", cut)
    assert collected.num_admitted == 25
    assert collected.data == versioning.head(settings)


def test_an_operator_can_have_an_older_version_judged_and_measured_again(settings, mlflow, first):
    again = promote("topics", first.version, policy=ANYTHING)
    assert again.verdict.verdict == "promote"
    assert Registry(mlflow).champion("banyan-topics") == first
    assert 0 <= evaluate("topics")["accuracy"] <= 1


def found_without_a_run(recipe, data):
    with looking():
        return finetune.fn(recipe, data=data, policy=ANYTHING)


def test_what_has_not_changed_is_found_without_a_run_and_without_torch(settings, data, first):
    assert found_without_a_run(RECIPE, data) == first
    code = (
        "import sys; from components.recipes import Finetune; from components.refs import DataRef; "
        "from flows import policies; "
        f"recipe = Finetune.model_validate_json({RECIPE.model_dump_json()!r}); "
        f"data = DataRef.model_validate_json({data.model_dump_json()!r}); "
        "found = policies.trained_before({'recipe': recipe, 'data': data}); "
        "print(found and found.weights_sha256, 'torch' in sys.modules)"
    )
    for _ in range(2):  # the first takes the lock anew where this process counts other threads than that one
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_a_part_is_looked_up_with_what_the_one_before_it_gave_as_json(settings, data, first, monkeypatch):
    monkeypatch.setattr(waiting, "get_run_logger", logging.getLogger)
    monkeypatch.setattr(waiting, "record", lambda *_, **__: None)
    given = {"recipe": RECIPE, "data": data.model_dump(mode="json"), "policy": ANYTHING, "force": False}
    assert waiting.made_before("finetune", "finetune/cpu", given, settings=settings) == first


@pytest.mark.parametrize("what", ["recipe", "parent", "code", "data"])
def test_each_changed_input_is_something_to_do(settings, data, first, monkeypatch, what):
    recipe, given = RECIPE, data
    weights = assets._weights_folder(assets.get_asset("minilm"), settings) / "model.safetensors"
    before = weights.read_bytes()
    if what == "recipe":
        recipe = RECIPE.model_copy(update={"learning_rate": 2e-2})
    elif what == "parent":
        changed = {name: tensor + 1 for name, tensor in load_file(weights).items()}
        save_file(changed, weights, metadata={"format": "pt"})
    elif what == "code":
        monkeypatch.setattr(keys, "code", lambda: "another")
        monkeypatch.setattr(lock, "code_sha256", lambda _: "another")
    else:
        rows = tables.read_split(versioning.path_of(data, settings), "topics", "train")
        folder = settings.workspace.data / "staging" / "changed" / "data"
        shutil.copytree(versioning.path_of(data, settings), folder, copy_function=shutil.copyfile)
        tables.write_split(folder, "topics", "train", rows.iloc[1:], task="classification")
        head = versioning.head(settings)
        given = versioning.commit(folder, settings=settings)
        (settings.workspace.data / "HEAD").write_text(head.version + "\n")
    try:
        with pytest.raises(Changed, match="train"):
            found_without_a_run(recipe, given)
    finally:
        weights.write_bytes(before)
        monkeypatch.undo()
    assert found_without_a_run(RECIPE, data) == first


def test_another_cut_of_the_ledger_is_other_data_and_has_a_model_of_its_own(settings, mlflow, data, first):
    versions = Registry(mlflow).versions(first.name)
    retrained = next(one for one in versions if one.data_version != data.version and one.role == "candidate")
    cut = versioning.manifest(retrained.data_version, settings=settings).ref
    assert found_without_a_run(RECIPE, cut) == retrained.ref != first


def test_a_retraining_whose_recipe_needs_a_gpu_goes_on_in_that_pool_and_nobody_begins_another(
    settings, data, first, monkeypatch
):
    give_feedback(settings, first, range(3), "graphs")
    asked = {}
    monkeypatch.setenv("BANYAN_PREFECT_URL", "http://prefect")  # for the link to the other run
    monkeypatch.setattr("flows.steps.placed", SimpleNamespace(name="cpu"))
    monkeypatch.setattr("flows.waiting.start", lambda *what, key: asked.update(what=what, key=key) or "the-other")
    state = retrain("topics", recipe=RECIPE.model_copy(update={"device": "cuda"}), return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "HandedOver")
    assert state.result() == {"handed_over_to": "the-other"}
    deployment, given = asked["what"]
    assert deployment == "retrain/gpu" and given["recipe"].device == "cuda"
    assert given["data"]["version"], "a machine of its own fetches it by its hash"
    with Ledger(settings) as ledger:
        assert not ledger.lease(lease_name("topics"), holder="a third", seconds=60)
        assert ledger.lease(lease_name("topics"), holder="the-other", seconds=60), "the other begins"
        ledger.release(lease_name("topics"), holder="the-other")


def test_a_gate_that_asks_for_seeds_gets_them_and_looks_once(settings, mlflow, first):
    registry, name = Registry(mlflow), first.name
    before = {one.ref.version for one in registry.versions(name)}
    give_feedback(settings, first, range(60, 64), "waves")
    with Ledger(settings) as ledger:
        looks = ledger.looks(name)
    three = ANYTHING.model_copy(update={"minimum_seeds": 3, "slices_rule": "report"})
    state = retrain("topics", recipe=RECIPE, policy=three, return_state=True)
    assert state.is_completed(), state.message
    made = sorted(
        (one for one in registry.versions(name) if one.ref.version not in before), key=lambda one: one.ref.version
    )
    assert [json.loads(one.tags[RECIPE_TAG])["seed"] for one in made] == [1, 2, 0]
    assert len({one.ref.weights_sha256 for one in made}) == 3
    with Ledger(settings) as ledger:
        (look,) = [one for one in ledger.looks(name) if one not in looks]
        assert ledger.cuts("topics")[-1].outcome == look.verdict == "promote"
    assert look.model_version == made[-1].ref.version == registry.champion(name).version
    assert look.evidence["seeds"]["num_seeds"] == 3
    for side in ("challenger", "champion"):
        cost = look.evidence["cost"][side]
        assert cost["cpu_seconds"] > 0 and cost["weight_bytes"] > 10_000 and cost["seconds_per_example"] > 0


def test_both_models_answer_the_feedback_that_no_training_sees_which_moves_no_verdict(settings, mlflow, first):
    """One person of two is kept aside by the workspace's screening policy."""
    policy = settings.workspace.root / "screening.yaml"
    policy.write_text("kind: screening\nheldout_share: 0.5\n")
    registry, label = Registry(mlflow), sorted(WORDS)[0]
    before = registry.champion(first.name)
    try:
        with Ledger(settings) as ledger:
            names = [f"reader {number}" for number in range(40)]
            asked = [SimpleNamespace(subject=ledger.pseudonym(name)) for name in names]
            sides = {is_kept_aside(one, policies.screening()): name for one, name in zip(asked, names, strict=True)}
            looks = ledger.looks(first.name)
        give_feedback(settings, first, range(200, 235), label, subject=sides[True])
        give_feedback(settings, first, range(300, 303), label, subject=sides[False])
        state = retrain("topics", recipe=RECIPE, policy=ANYTHING, return_state=True)
        assert state.is_completed(), state.message
        with Ledger(settings) as ledger:
            (look,) = [one for one in ledger.looks(first.name) if one not in looks]  # one look, as without it
            cut = ledger.cuts("topics")[-1].cut
            collected = Collected(
                table="topics", cut=cut, data=versioning.head(settings), num_admitted=0, num_refused=0, reasons={}
            )
        aside = kept_aside(collected, task=RECIPE.task, settings=settings, policy=policies.screening())
    finally:
        policy.unlink()
    assert len(aside) == 35
    used = versioning.path_of(versioning.head(settings), settings)
    taught = {split: set(tables.read_split(used, "topics", split)["id"]) for split in ("train", "feedback")}
    assert not set(aside["id"]) & (taught["train"] | taught["feedback"])
    assert {f"{WORDS[label]} question {i}" for i in range(300, 303)} <= set(
        tables.read_split(used, "topics", "feedback")["text"]
    )
    found = look.evidence["feedback"]
    assert found["num_examples"] == 35
    made = registry.ref(first.name, look.model_version)
    for side, model in (("challenger", made), ("champion", before)):
        say = model_in(registry.fetch(model, settings), task=get_task(RECIPE.task))
        right = [answer.output == label for answer in say(list(aside["text"]))]
        assert found[side] == pytest.approx(sum(right) / 35), side
    assert found["difference"] == pytest.approx(found["challenger"] - found["champion"])
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]


BROKEN = RECIPE.model_copy(update={"learning_rate": 1e30, "name": "broken"})


def holders(settings):
    with Ledger(settings) as ledger:
        return ledger.leases(lease_name(""))


def test_what_failed_is_kept_and_the_next_bell_hears_that_it_has_to_wait(settings, first):
    give_feedback(settings, first, range(60, 62), "graphs")
    assert retrain("topics", recipe=BROKEN, return_state=True).is_failed()
    with Ledger(settings) as ledger:
        failed = ledger.attempts("topics")[-1]
    assert (failed.outcome, failed.cause) == ("failed", "asked") and failed.error.startswith("NonFiniteLoss")
    state = retrain("topics", trigger=TriggerPolicy(minimum_feedback=1), return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "BackingOff")
    assert "in a row came to nothing" in state.message


def test_one_that_is_tried_again_takes_its_claim_anew_or_ends_quietly(settings, first, monkeypatch):
    """As `Try again` does: the same run in a new process, with the steps that were finished answered from before."""
    give_feedback(settings, first, range(62, 64), "graphs")
    given = {"table": "topics", "recipe": BROKEN}
    held = []

    def fail(*_, **__):
        held.append(holders(settings))
        raise NonFiniteLoss("step 1", "another recipe")

    monkeypatch.setattr("flows.steps.training.train", fail)
    with get_client(sync_client=True) as client:
        run_id = client.create_flow_run(retrain, parameters=given).id

        def run():
            run = client.read_flow_run(run_id)
            return run_flow(retrain, flow_run=run, parameters=given, return_type="state")

        assert run().is_failed() and holders(settings) == []
        client.set_flow_run_state(run_id, Scheduled(name="AwaitingRetry"))
        assert run().is_failed() and holders(settings) == []
        assert held == [[(lease_name("topics"), str(run_id))]] * 2, "the second time it trained without its claim"
        with Ledger(settings) as ledger:
            assert [one.outcome for one in ledger.attempts("topics") if one.run_id == str(run_id)] == ["failed"] * 2
            assert ledger.lease(lease_name("topics"), holder="somebody else", seconds=600)
            client.set_flow_run_state(run_id, Scheduled(name="AwaitingRetry"))
            state = run()
            ledger.release(lease_name("topics"), holder="somebody else")
        assert (state.type.value, state.name, len(held)) == ("COMPLETED", "AlreadyRetraining", 2)
