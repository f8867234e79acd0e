"""Verification from the stores alone: a real registry, a real DVC remote, tiny models."""

import json

import pytest
import torch
from typer.testing import CliRunner

from components.data import versioning
from components.errors import RecipeError, RegistryError, VersionNotFound
from components.evaluation import candidate
from components.recipes import Finetune, Pretrain
from components.refs import ModelRef
from components.registry import Registry
from components.settings import Settings
from components.training import lock as locks
from components.training import pretraining
from components.training import run as training
from components.training import verify as verification
from components.training.verify import verify
from flows.cli import app

RECIPE = Pretrain(
    name="corpus",
    num_steps=4,
    batch_size=4,
    max_length_tokens=16,
    vocab_size=300,
    num_layers=1,
    hidden_size=32,
    num_heads=2,
    dropout=0.1,
    learning_rate=1e-2,
    evaluate_every_steps=4,
    sample_tokens=2,
)


@pytest.fixture(scope="module")
def model(installation) -> ModelRef:
    """A version as the pretrain flow registers it."""
    data = versioning.head(installation)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(installation.workspace.root.parent)  # without a server MLflow keeps artifacts where it stands
        patch.setenv("MLFLOW_TRACKING_URI", str(installation.mlflow_url))  # and looks up what it is given here
        run = training.train(RECIPE, data=data, settings=installation)
        return candidate.register(RECIPE, run=run, data=data, settings=installation)


@pytest.fixture
def elsewhere(installation, tmp_path) -> Settings:
    """A fresh workspace that knows the stores' addresses and nothing else."""
    remote = str(installation.workspace.remote)
    return installation.model_copy(update={"workspace_dir": tmp_path / "fresh", "data_remote": remote})


def test_a_fresh_workspace_verifies_from_the_stores_alone(model, elsewhere):
    found = verify(model, settings=elsewhere)
    assert (found.verdict, found.exit_code, found.data_from) == ("identical", 0, "remote")
    assert found.retrained_sha256 == found.registered_sha256 == model.weights_sha256
    assert found.environment == ()
    left = [path for path in elsewhere.workspace.root.rglob("*") if path.is_file()]
    assert [path.parent.name for path in left] == ["locks"], "nothing is written but the turn that it waited for"


def test_the_number_of_threads_is_the_locks_and_afterwards_what_it_was(model, installation):
    torch.set_num_threads(2)
    found = verify(model, settings=installation)
    assert (found.verdict, found.data_from) == ("identical", "workspace")
    assert torch.get_num_threads() == 2


def test_the_losses_are_kept_as_the_bits_they_were(model, installation):
    registry = Registry(installation.mlflow_url)
    kept = json.loads(registry.artifact(model, training.LOSSES))
    run_dir = installation.workspace.runs / registry.lock(model)["key"]
    done = json.loads((run_dir / "trained.json").read_text())
    assert len(kept) == RECIPE.num_steps
    assert kept == done["losses"] == [value for _, value in registry.history(model.run_id, "loss")]


def test_the_first_step_whose_loss_parts_is_named_and_training_ends_there(model, installation, monkeypatch):
    true = Registry.artifact

    def one_bit_off(self, ref, file):
        content = true(self, ref, file)
        if file != training.LOSSES:
            return content
        losses = json.loads(content)
        losses[2] = float(torch.nextafter(torch.tensor(losses[2], dtype=torch.float64), torch.tensor(9.0)))
        return json.dumps(losses).encode()

    monkeypatch.setattr(Registry, "artifact", one_bit_off)
    steps = []
    found = verify(model, settings=installation, watch=steps.append)
    assert (found.verdict, found.exit_code, found.parted_at_step) == ("different", 1, 3)
    assert found.registered_loss != found.retrained_loss == pytest.approx(found.registered_loss)
    assert found.retrained_sha256 is None
    assert len(steps) == 3


def test_a_loss_that_is_no_number_here_is_different_at_its_step(model, installation, banyan, monkeypatch):
    ordinary, calls = pretraining.objective_loss, []

    def broken(*args, **kwargs):
        summed, count = ordinary(*args, **kwargs)
        calls.append(summed)
        return (summed * float("nan") if len(calls) == 3 else summed), count

    monkeypatch.setattr(pretraining, "objective_loss", broken)
    found = verify(model, settings=installation)
    assert (found.verdict, found.exit_code, found.parted_at_step) == ("different", 1, 3)
    assert found.registered_loss is not None and found.retrained_loss is None
    calls.clear()
    said = banyan("verify", "gpt").stdout
    assert "parts at step 3 of 4" in said and "no number here" in said


def test_other_weights_under_equal_losses_are_different_too(model, installation):
    forged = model.model_copy(update={"weights_sha256": "f" * 64})
    found = verify(forged, settings=installation)
    assert (found.verdict, found.parted_at_step, found.retrained_sha256) == ("different", None, model.weights_sha256)


@pytest.fixture
def full_device(monkeypatch):
    """Holds so many rows at once from the n-th forward pass on."""
    ordinary, passes = pretraining.objective_loss, []

    def with_room_for(most, *, after=0):
        def loss(model, batch, **options):
            passes.append(1)
            if len(passes) > after and len(batch["labels"]) > most and torch.is_grad_enabled():
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return ordinary(model, batch, **options)

        passes.clear()
        monkeypatch.setattr(pretraining, "objective_loss", loss)

    return with_room_for


@pytest.fixture
def halved(installation, full_device) -> ModelRef:
    """A version whose batches did not fit from the third step on."""
    data, recipe = versioning.head(installation), RECIPE.model_copy(update={"family": "gpt2"})
    full_device(2, after=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(installation.workspace.root.parent)
        patch.setenv("MLFLOW_TRACKING_URI", str(installation.mlflow_url))
        run = training.train(recipe, data=data, settings=installation, force=True)
        return candidate.register(recipe, run=run, data=data, settings=installation)


def test_a_training_whose_batches_did_not_fit_is_divided_alike_and_verifies(halved, installation, full_device, banyan):
    registry = Registry(installation.mlflow_url)
    assert registry.lock(halved)["division"] == {"step 3": 2}
    assert "micro-batches in 2 parts from step 3 on" in registry.get(halved).card
    full_device(4)  # here all of it fits
    found = verify(halved, settings=installation)
    assert (found.verdict, found.division, found.environment) == ("identical", {"step 3": 2}, ())
    said = banyan("verify", f"gpt2@{halved.version}").stdout
    assert "identical" in said and "divided as the registered training's were: 2 parts from step 3 on" in said
    assert "2 parts from step 3 on" in banyan("lock", "show", f"gpt2@{halved.version}").stdout
    full_device(1, after=3)  # less room than then
    found = verify(halved, settings=installation)
    assert (found.verdict, found.exit_code, found.parted_at_step) == ("not comparable", 3, 3)
    assert [str(one) for one in found.environment] == ["division.step 3: 2 → 4"]
    assert "free it" in found.remedy


@pytest.fixture
def another_lock(model, monkeypatch):
    """The version as if it had been registered elsewhere."""
    true = Registry.lock

    def change(**fields):
        def lock(self, ref):
            content = {**true(self, ref), **fields}
            content["exact_key"] = locks.Lock(**{k: v for k, v in content.items() if "key" not in k}).exact_key
            return content

        monkeypatch.setattr(Registry, "lock", lock)

    return change


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("packages", {"torch": "1.0"}, "pip install torch==1.0"),
        ("device", "NVIDIA H100", "NVIDIA H100"),
        ("isa", "arm64", "arm64"),
        ("code", "c" * 64, "git checkout"),
        ("tables", {"corpus": "0" * 64}, "the stores were changed"),
    ],
)
def test_another_environment_is_not_comparable_and_the_remedy_is_told(
    field, value, said, model, installation, another_lock
):
    another_lock(**{field: value, "revision": "a" * 40})
    steps = []
    found = verify(model, settings=installation, watch=steps.append)
    assert (found.verdict, found.exit_code) == ("not comparable", 3)
    assert {one.part.partition(".")[0] for one in found.environment} == {field}
    assert said in found.remedy
    assert steps == [], "hours of training are not spent on it"


def test_code_that_was_not_committed_and_code_without_a_revision_have_remedies_of_their_own(
    model, installation, another_lock
):
    another_lock(code="c" * 64, revision="a" * 40, dirty="d" * 64, modules={})
    assert "git apply" in verify(model, settings=installation).remedy
    another_lock(code="c" * 64, revision="", dirty="", modules={})
    assert "installed copy" in verify(model, settings=installation).remedy


def test_anyway_trains_and_equal_bits_say_that_the_difference_is_no_matter(model, installation, another_lock):
    another_lock(packages={"torch": "1.0"})
    found = verify(model, settings=installation, anyway=True)
    assert (found.verdict, found.retrained_sha256) == ("identical", model.weights_sha256)
    assert found.environment


def test_the_module_that_differs_is_named(model, installation, another_lock):
    modules = Registry(installation.mlflow_url).lock(model)["modules"]
    another_lock(code="c" * 64, modules=modules | {"components.training.loop": "0" * 64})
    found = verify(model, settings=installation)
    assert "modules.components.training.loop" in {one.part for one in found.environment}


def test_a_lock_that_was_changed_is_an_error(model, installation, monkeypatch):
    true = Registry.lock
    monkeypatch.setattr(Registry, "lock", lambda self, ref: {**true(self, ref), "seed": 9})
    with pytest.raises(RegistryError, match="was changed"):
        verify(model, settings=installation)
    monkeypatch.setattr(Registry, "lock", lambda self, ref: {"key": "k"})
    with pytest.raises(RegistryError, match="not whole"):
        verify(model, settings=installation)


@pytest.mark.parametrize("name", ["gpt", "banyan-gpt", "gpt@1", "gpt@v1"])
def test_a_version_is_found_by_its_name(name, model, installation):
    assert verification.find(Registry(installation.mlflow_url), name) == model


@pytest.mark.parametrize(("name", "said"), [("nothing", "banyan-gpt"), ("gpt@9", "v9"), ("gpt@x", "no version")])
def test_a_version_that_is_not_there_is_told_with_what_is(name, said, model, installation):
    with pytest.raises(VersionNotFound, match=said):
        verification.find(Registry(installation.mlflow_url), name)


# ---------------------------------------------------------------- the command line


@pytest.fixture
def banyan(installation, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(installation.workspace.root))
    monkeypatch.setenv("BANYAN_MLFLOW_URL", str(installation.mlflow_url))
    return lambda *words: CliRunner().invoke(app, words)


def test_verify_prints_the_verdict_and_exits_by_it(model, banyan, another_lock):
    done = banyan("verify", "gpt")
    assert done.exit_code == 0 and "identical" in done.stdout and model.weights_sha256 in done.stdout
    another_lock(code="c" * 64, revision="a" * 40)
    done = banyan("verify", "gpt@1", "--json")
    facts = json.loads(done.stdout)
    assert (done.exit_code, facts["exit_code"], facts["verdict"]) == (3, 3, "not comparable")
    assert f"git checkout {'a' * 40}" in facts["remedy"]


def test_lock_show_says_all_of_it(model, banyan):
    said = banyan("lock", "show", "gpt").stdout
    lock = json.loads(banyan("lock", "show", "gpt", "--json").stdout)
    assert lock["threads"] == 1
    assert all(part in said for part in (lock["key"], lock["code"], lock["tables"]["corpus"], torch.__version__))


def test_lock_diff_tells_what_decides_bits_from_what_does_not(model, installation, banyan, monkeypatch):
    true = Registry.lock
    monkeypatch.setattr(Registry, "lock", lambda self, ref: true(self, model))
    monkeypatch.setattr(Registry, "ref", lambda self, name, version: model.model_copy(update={"version": version}))
    same = banyan("lock", "diff", "gpt@1", "gpt@2")
    assert same.exit_code == 0 and "same weights are due" in same.stdout
    content = true(Registry(installation.mlflow_url), model)
    other = {**content, "revision": "b" * 40, "threads": 8}
    other["exact_key"] = locks.Lock(**{k: v for k, v in other.items() if "key" not in k}).exact_key
    monkeypatch.setattr(Registry, "lock", lambda self, ref: content if ref.version == 1 else other)
    done = banyan("lock", "diff", "gpt@1", "gpt@2", "--json")
    assert done.exit_code == 1
    told = {one["part"]: one["is_exact"] for one in json.loads(done.stdout)["differences"]}
    assert told == {"threads": True, "revision": False}


def test_a_fine_tuning_starts_from_a_language_model_of_this_installation(model, classify, installation, elsewhere):
    recipe = Finetune(**{**classify.model_dump(), "base": f"{model.name}@{model.version}", "max_length_tokens": 16})
    data = versioning.head(installation)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(installation.workspace.root.parent)
        patch.setenv("MLFLOW_TRACKING_URI", str(installation.mlflow_url))
        run = training.train(recipe, data=data, settings=installation)
        tuned = candidate.register(recipe, run=run, data=data, settings=installation)
    assert run.lock["parent"] == model.weights_sha256
    found = verify(tuned, settings=elsewhere)
    assert found.verdict == "identical"
    on_itself = Finetune(**{**recipe.model_dump(), "base": f"{tuned.name}@{tuned.version}"})
    with pytest.raises(RecipeError, match="not a language model"):
        training.take_lock(on_itself, data=data, settings=installation)


def test_a_gpt_is_exported_as_one_file_for_llama_cpp(model, banyan, tmp_path):
    file = tmp_path / "gpt.gguf"
    done = banyan("export", f"gpt@{model.version}", "--to", str(file), "--format", "gguf", "--json")
    assert json.loads(done.stdout) == {"model": str(model), "file": str(file), "merged": False}
    assert file.read_bytes()[:4] == b"GGUF"
    assert [path.name for path in tmp_path.iterdir()] == ["gpt.gguf"], "nothing is left beside it"
