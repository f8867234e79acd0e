"""A plan against the training that it is of, and its arithmetic against counting."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from components import assets
from components.data import versioning
from components.errors import RecipeError
from components.models.families import FAMILIES
from components.recipes import Finetune, Pretrain
from components.training import flops, hardware
from components.training import plan as planning
from components.training import run as training
from components.training.result import Trained
from flows.cli import app


def recipe(**fields):
    given = {
        "name": "corpus", "num_steps": 20, "batch_size": 4, "max_length_tokens": 64, "vocab_size": 300, "num_layers": 2,
        "hidden_size": 64, "num_heads": 2, "learning_rate": 1e-2, "checkpoint_every_steps": 6, "sample_tokens": 2,
        "evaluate_every_steps": 20, "precision": "fp32",
    }  # fmt: skip
    return Pretrain(**given | fields)


@pytest.fixture(scope="module")
def planned(installation):
    torch.set_num_threads(1)
    return planning.plan(recipe(), data=versioning.head(installation), settings=installation)


def test_parameters_and_memory_are_those_of_the_model(planned):
    model = FAMILIES["gpt"].build(recipe(), 300)
    count = sum(p.numel() for p in model.parameters())
    assert planned.num_parameters == planned.num_trainable == count
    assert planned.memory.weights == planned.memory.gradients == 4 * count
    assert planned.memory.optimizer == pytest.approx(8 * count, rel=0.05), "AdamW keeps two numbers a parameter"
    assert planned.memory.activations > 4 * 4 * 64 * 300, "the logits at least"


def test_operations_by_the_formula_are_those_that_are_counted(planned):
    """6 N D and attention's products, against torch's count of what one step ran."""
    assert planned.num_tokens == 20 * 4 * 64
    assert planned.flops_counted == pytest.approx(planned.flops, rel=0.1)
    assert 0 < planned.flops_of_attention < planned.flops / 2


def test_the_run_keeps_its_plan_and_what_it_took(planned, installation, tmp_path):
    data = versioning.head(installation)
    lock = training.take_lock(recipe(), data=data, settings=installation)
    assert planned.lock_key == lock.key
    assert planning.kept(lock.key, installation.workspace) == planned
    assert planning.newest(recipe(), installation.workspace) == planned, "whatever the data"
    assert planning.newest(recipe(seed=5), installation.workspace) is None
    assert planning.too_much_for_cpu(planned) == ""
    trained = Trained(tmp_path, "", 20, 12.5, lock, metrics={"bits_per_byte": 2.5}, flops=1e9)
    told = planning.settle(lock.key, trained, installation.workspace)
    assert told == {
        "plan_seconds": planned.here.seconds,
        "actual_seconds": 12.5,
        "plan_flops": planned.flops,
        "actual_flops": 1e9,
        "actual_loss": 2.5,
    }
    kept = planning.kept(lock.key, installation.workspace)
    assert (kept.actual_seconds, kept.actual_flops, kept.actual_loss) == (12.5, 1e9, 2.5)
    assert planning.settle("nobody planned it", trained, installation.workspace) == {}


def test_a_plan_without_enough_runs_says_why_there_is_no_law(planned):
    assert planned.forecast.loss is None
    assert "0 runs that compare, and at least 12 are needed" in planned.forecast.why_no_loss


def test_another_length_is_so_many_more_steps_of_the_same(planned, installation):
    longer = planning.plan(recipe(num_steps=200), data=versioning.head(installation), settings=installation)
    assert longer.num_tokens == 10 * planned.num_tokens
    assert longer.here.seconds > planned.here.seconds
    assert longer.memory.weights == planned.memory.weights


@pytest.mark.parametrize("family", ["lstm", "bert"])
def test_every_kind_of_family_can_be_planned(family, installation):
    heads = None if family == "lstm" else 2
    found = planning.plan(
        recipe(family=family, num_heads=heads), data=versioning.head(installation), settings=installation
    )
    assert found.flops > 0 and found.memory.activations > 0
    assert (found.flops_of_attention > 0) == (family == "bert")


def test_an_ensemble_costs_its_members_trainings_one_after_another(installation, classify, small_bert, monkeypatch):
    monkeypatch.setattr(assets, "weights", lambda name, settings: small_bert)
    data = versioning.head(installation)
    alone = planning.plan(classify, data=data, settings=installation)
    voted = Finetune(**{**classify.model_dump(), "ensemble": {"method": "vote", "members": 3}})
    found = planning.plan(voted, data=data, settings=installation)
    assert found.num_steps == 3 * alone.num_steps
    assert (found.num_tokens, found.flops) == pytest.approx((3 * alone.num_tokens, 3 * alone.flops), rel=0.05)
    assert found.memory.optimizer == alone.memory.optimizer > 2 * alone.memory.weights - 1000, "AdamW keeps two"


def test_a_plan_for_several_workers_is_refused_with_what_to_do(installation):
    several = installation.model_copy(update={"workers": 2})
    with pytest.raises(RecipeError, match=r"one process, and BANYAN_WORKERS is 2.*BANYAN_WORKERS=1"):
        planning.plan(recipe(), data=versioning.head(installation), settings=several)


def test_frozen_weights_cost_two_thirds_and_have_no_gradients():
    model = FAMILIES["gpt"].build(recipe(), 300)
    whole = flops.sizes_of(model)
    for p in model.model.layers.parameters():
        p.requires_grad_(False)
    part = flops.sizes_of(model)
    assert part.gradient_bytes < whole.gradient_bytes == whole.weight_bytes
    frozen = whole.num_multiplied - part.num_multiplied_trained
    needed = [flops.flops_of(sizes, num_tokens=10, length=64)[0] for sizes in (whole, part)]
    assert needed[0] - needed[1] == 2 * frozen * 10


def test_a_table_that_is_only_looked_up_multiplies_nothing():
    tied, apart = (FAMILIES["gpt"].build(recipe(), 300) for _ in range(2))
    apart.lm_head.weight = torch.nn.Parameter(apart.lm_head.weight.detach().clone())
    assert flops.sizes_of(tied).num_multiplied == flops.sizes_of(apart).num_multiplied
    assert flops.sizes_of(tied).num_parameters < flops.sizes_of(apart).num_parameters
    tied.set_attn_implementation("eager")  # the fused kernel is not counted
    with FlopCounterMode(display=False) as counter:
        tied(input_ids=torch.zeros(1, 64, dtype=torch.long))
    sizes = flops.sizes_of(tied)
    forward = 2 * sizes.num_multiplied * 64 + 4 * sizes.num_layers * sizes.width * 64 * 64
    assert counter.get_total_flops() == pytest.approx(forward, rel=0.02)


def test_gpus_are_told_as_what_they_are(planned):
    assert all(place.is_extrapolated for place in planned.gpus) and not planned.here.is_extrapolated
    by_name = {place.name: place for place in planned.gpus}
    slow, fast = by_name["NVIDIA L4"], by_name["NVIDIA H100 SXM"]
    assert slow.seconds / fast.seconds == pytest.approx(989 / 121)
    assert fast.seconds == pytest.approx(planned.flops / (989e12 * 0.3))
    huge = planning.Memory(weights=10**11, gradients=0, optimizer=0, activations=0)
    fits = {gpu.name: planning.on_gpu(gpu, flops=1e18, memory=huge, price_a_kwh=1).fits for gpu in hardware.GPUS}
    assert fits == {name: name == "NVIDIA H200 SXM" for name in fits}


def test_energy_is_watts_times_hours():
    assert hardware.watts(device="cpu", num_threads=2, memory_gb=4) == pytest.approx(24 + 1.49)
    assert hardware.watts(device="NVIDIA H100 80GB HBM3", num_threads=1, memory_gb=0) == 712
    assert hardware.watts(device="NVIDIA A100-SXM4-80GB", num_threads=1, memory_gb=0) == 412
    assert hardware.watts(device="NVIDIA L40S", num_threads=1, memory_gb=0) == 362, "not an L4's 72 W"
    assert hardware.watts(device="NVIDIA GH200 480GB", num_threads=1, memory_gb=0) == 12, "no data sheet here"
    place = planning.on_gpu(hardware.GPUS[0], flops=121e12 * 0.3 * 3600, memory=_nothing(), price_a_kwh=0.5)
    assert (place.seconds, place.kwh, place.cost) == pytest.approx((3600, 0.072, 0.036))


def _nothing():
    return planning.Memory(weights=0, gradients=0, optimizer=0, activations=0)


def test_the_command_says_it_in_words_and_in_json(installation, tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(installation.workspace.root))
    file = tmp_path / "corpus.yaml"
    file.write_text(json.dumps(recipe().model_dump(mode="json")))
    said = CliRunner().invoke(app, ["plan", str(file), "--kwh-price", "0.5"]).stdout
    assert "extrapolated" in said and "NVIDIA H100" in said and "0.5 a kWh" in said
    facts = json.loads(CliRunner().invoke(app, ["plan", str(file), "--set", "num_steps=9", "--json"]).stdout)
    assert facts["num_steps"] == 9
    assert facts["memory_bytes"] == sum(facts["memory"].values())
    assert facts["price_a_kwh"] == planning.PRICE_A_KWH
