"""What Prefect is told of us, on a real server and off it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from components.recipes import Finetune, Ingest, load_recipe
from flows import deployments, policies
from flows.deployments import DEPLOYMENTS, MAX_ATTEMPTS, POOLS, TAG, load_flow

ROOT = Path(__file__).parents[2]
DECLARED = yaml.safe_load((ROOT / "infra/prefect.yaml").read_text("utf-8"))["deployments"]


def names():
    return sorted(f"{load_flow(one.entrypoint).name}/{one.pool}" for one in DEPLOYMENTS)


def test_prefect_yaml_declares_the_deployments_that_the_stack_registers():
    declared = sorted((one["entrypoint"], one["work_pool"]["name"], tuple(one["tags"])) for one in DECLARED)
    assert declared == sorted((one.entrypoint, one.pool, (TAG, f"pool-{one.pool}")) for one in DEPLOYMENTS)


def test_prefect_yaml_has_the_nightly_schedule_that_the_stack_registers():
    ours = next(one for one in DEPLOYMENTS if one.cron)
    schedules = [(one["entrypoint"], *one["schedules"]) for one in DECLARED if "schedules" in one]
    assert len(schedules) == 1
    entrypoint, schedule = schedules[0]
    assert (entrypoint, schedule["cron"], schedule["timezone"]) == (ours.entrypoint, ours.cron, "UTC")
    assert schedule["parameters"] == deployments.nightly()


def test_the_work_pools_file_is_what_the_stack_registers():
    declared = json.loads((ROOT / "infra/work-pool.json").read_text("utf-8"))
    assert declared == deployments.base_job_template(python="python")


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: f"{one.entrypoint}-{one.pool}")
def test_a_deployment_is_a_module_path_to_a_flow_on_a_known_pool(deployment):
    flow = load_flow(deployment.entrypoint)
    assert f"{flow.fn.__module__}.{flow.fn.__name__}" == deployment.entrypoint
    assert deployment.pool in POOLS


def test_the_names_that_the_command_line_and_the_dashboard_use_are_there():
    used = {"ingest/cpu", "pretrain/cpu", "finetune/cpu", "evaluate/cpu", "promote/cpu", "retrain/cpu", "loop/cpu"}
    assert used <= set(names())


def test_a_crashed_run_is_scheduled_anew_a_bounded_number_of_times():
    again = next(one for one in deployments.automations(retrain=None) if "goes on" in one.name)
    counts = again.trigger.match.model_dump()["prefect.run-count"]
    assert counts == [str(n) for n in range(1, MAX_ATTEMPTS)]


def test_any_word_from_a_run_keeps_it_from_being_declared_dead():
    """A run may end in a state of its own naming, such as NotEnoughFeedback: its event bears that name."""
    dead = next(one for one in deployments.automations(retrain=None) if "heartbeat" in one.name)
    assert dead.trigger.expect == {"prefect.flow-run.*"}
    assert dead.trigger.within.total_seconds() > 3 * deployments.HEARTBEAT_SECONDS


def test_every_recipe_that_a_loop_names_is_there():
    for path in policies.RECIPES.glob("*loop.yaml"):
        plan = policies.plan(load_recipe(path))
        assert isinstance(plan.ingest, Ingest) and isinstance(plan.rated, Finetune)
        assert plan.rated.table == load_recipe(path).rater.table


def test_the_stack_registers_everything_on_a_real_server(small_stack):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "flows.deployments"], env=small_stack.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"deployed (\S+)", done.stdout)) == names()
    told = small_stack.call("GET", "/deployments/name/retrain/cpu")
    assert told["entrypoint"] == "flows.retrain.retrain"
    nightly = small_stack.call("GET", "/deployments/name/look/cpu")["schedules"]
    assert [one["schedule"]["cron"] for one in nightly] == ["17 3 * * *"]
    assert "Finetune" in str(told["parameter_openapi_schema"])  # the UI shows the recipe's fields
    before = {one["name"]: one["id"] for one in small_stack.call("POST", "/automations/filter", {})}
    subprocess.run([sys.executable, "-m", "flows.deployments"], env=small_stack.env, capture_output=True, check=True)
    after = {one["name"]: one["id"] for one in small_stack.call("POST", "/automations/filter", {})}
    assert after == before and len(after) == 2 + len(deployments.BELLS), "telling it again changes nothing"
