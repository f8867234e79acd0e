"""Several workers on the CPU, by gloo: the same steps as one, whoever computes which rows, killed or not."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components.errors import RecipeError, TrainingError
from components.settings import Settings
from components.training import distributed, launch
from components.training.distributed import World
from components.training.finetuning import finetune
from components.training.launch import Launch, launch_of, train
from components.training.pretraining import pretrain

HERE = Path(__file__).parent
TOLERANCE = 2e-5
"""Of a step's loss, relative, in fp32 without dropout: what the order of additions may change in six steps."""


@pytest.fixture
def exactly(read_corpus):
    """fp32, no dropout, four micro-batches of two rows: one, two and four workers can share them."""
    update = {"precision": "fp32", "dropout": 0.0, "batch_size": 2, "num_accumulation_steps": 4, "num_layers": 2}
    return read_corpus.model_copy(update=update)


@pytest.fixture
def run(small_data, small_bert, tmp_path):
    """Jobs (name, recipe, fields) in one program; name → what its workers say."""

    def started(*jobs):
        asked = [
            {"recipe": recipe.model_dump(mode="json"), "data": str(small_data), "weights": str(small_bert)}
            | {"run_dir": str(tmp_path / name), **fields}
            | ({"goes_on": str(tmp_path / fields["goes_on"])} if "goes_on" in fields else {})
            for name, recipe, fields in jobs
        ]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        code = [sys.executable, str(HERE / "ranks.py"), json.dumps(asked)]
        done = subprocess.run(code, cwd=HERE.parents[2], env=env, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        for (name, *_), one, job in zip(jobs, found, asked, strict=True):
            assert (one["codes"] == [0] * job["workers"]) != ("stop" in job), (name, one["codes"], done.stderr)
            assert set(one["codes"]) <= {0, 9, -9}, (name, done.stderr)
            assert all(rank == one["ranks"][0] for rank in one["ranks"]), name  # all have the same result
        return {name: one["ranks"][0] if one["ranks"] else {} for (name, *_), one in zip(jobs, found, strict=True)}

    return started


def test_workers_agree_and_resume_one_another(run, exactly, classify, small_data, small_bert, tmp_path):
    # one micro-batch: its rows are shared; workers draw their own dropout, so that losses compare without
    tuned = classify.model_copy(update={"precision": "fp32", "batch_size": 6, "dropout": 0.0})
    adapted = tuned.model_copy(update={"adaptation": "lora", "lora_rank": 2})
    one = pretrain(exactly, data_dir=small_data, run_dir=tmp_path / "one")
    two, fsdp = {"workers": 2}, {"workers": 2, "strategy": "fsdp"}
    found = run(
        ("two", exactly, {**two}),
        ("four", exactly, {"workers": 4}),
        ("fsdp", exactly, {**fsdp}),
        ("tuned", tuned, {**two}),
        ("tuned, fsdp", tuned, {**fsdp}),
        ("adapted", adapted, {**two}),
        ("two, killed", exactly, {**two, "stop": 5}),
        ("two again", exactly, {**two, "goes_on": "two, killed"}),
        ("fsdp, killed", exactly, {**fsdp, "stop": 5}),
        ("fsdp again", exactly, {**fsdp, "goes_on": "fsdp, killed"}),
        ("fsdp to one", exactly, {"workers": 1, "goes_on": "fsdp, killed"}),
        ("one, killed", exactly, {"workers": 1, "stop": 5}),
        ("one to fsdp", exactly, {**fsdp, "goes_on": "one, killed"}),
    )
    for name in ("two", "four", "fsdp", "fsdp to one", "one to fsdp"):
        assert found[name]["losses"] == pytest.approx(one.losses, rel=TOLERANCE), name
        assert found[name]["metrics"]["heldout_loss"] == pytest.approx(one.metrics["heldout_loss"], rel=1e-4), name
    for recipe, names in ((tuned, ("tuned", "tuned, fsdp")), (adapted, ("adapted",))):
        alone = finetune(recipe, data_dir=small_data, weights_dir=small_bert, run_dir=tmp_path / f"{names[0]} alone")
        for name in names:
            assert found[name]["losses"] == pytest.approx(alone.losses, rel=TOLERANCE), name
    for name in ("two", "fsdp"):  # the same lock, killed or not: the same bits
        again = found[f"{name} again"]
        assert again["resumed_from"] == 4
        assert (again["sha256"], again["losses"]) == (found[name]["sha256"], found[name]["losses"])
    assert one.lock.parallel == ""
    assert found["two"]["parallel"] == "2 workers, ddp, gloo"
    assert found["fsdp to one"]["parallel"] == "2 workers, fsdp, gloo → 1 worker from step 5"
    assert found["fsdp to one"]["resumed_from"] == found["one to fsdp"]["resumed_from"] == 4
    assert found["one to fsdp"]["parallel"] == "1 worker → 2 workers, fsdp, gloo from step 5"


def test_a_killed_worker_is_started_again_and_the_curve_is_the_undisturbed_one(exactly, small_data, tmp_path, caplog):
    undisturbed = pretrain(exactly, data_dir=small_data, run_dir=tmp_path / "undisturbed")
    steps, looks = [], []
    done = train(
        exactly,
        Launch(workers=2, strategy="ddp", threads=1, device="cpu"),
        data_dir=small_data,
        weights_dir=None,
        run_dir=tmp_path / "killed",
        on_step=lambda progress: steps.append(progress.step),
        on_evaluate=looks.append,
        entry=[str(HERE / "killed_rank.py")],
    )
    assert done.resumed_from == 4
    assert "a worker died: all were started again (1)" in caplog.text
    assert steps.index(done.resumed_from + 1) < len(steps) - 1
    assert steps[-(6 - done.resumed_from) :] == list(range(done.resumed_from + 1, 7))
    assert done.losses == pytest.approx(undisturbed.losses, rel=TOLERANCE)
    assert looks[-1].metrics["heldout_loss"] == done.metrics["heldout_loss"]


def test_what_a_worker_died_of_is_said_though_much_is_written_after_it(exactly, small_data, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    folders = {"data_dir": str(small_data), "weights_dir": "", "run_dir": str(tmp_path)}
    alone = Launch(workers=1, strategy="ddp", threads=1, device="cpu")
    asked = {"recipe": exactly.model_dump(mode="json"), "launch": vars(alone), **folders}
    told = []
    with pytest.raises(ZeroDivisionError):
        launch.take_part(asked, tell=lambda *one: told.append(one), on_step=lambda progress: 1 / 0)
    assert [kind for kind, _ in told] == ["step", "crash"]
    lines = [f"{launch.MARK}{json.dumps(told[1])}", *["what torchrun says"] * 40]
    program = f"print(*{lines!r}, sep='\\n'); raise SystemExit(1)"
    with (
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as started,
        pytest.raises(TrainingError, match="ZeroDivisionError: division by zero"),
    ):
        launch._follow(started, on_step=None, on_evaluate=None)


def test_no_attempt_reads_an_address_of_the_one_before(monkeypatch):
    """torchrun's store outlives its workers; torch adds no prefix to what they write."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    agents = torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    given = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in {**given, "RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(name, value)
    distributed._meeting_place()["store"].set("rank 1", "an address")
    assert distributed._meeting_place()["store"].check(["rank 1"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not distributed._meeting_place()["store"].check(["rank 1"])
    del agents


@pytest.mark.parametrize(("sizes", "workers"), [([4, 4, 4, 4], 2), ([5], 2), ([4, 4, 3], 4), ([1] * 6, 3)])
def test_each_row_of_a_step_is_one_workers(sizes, workers):
    rows = torch.arange(sum(sizes)).reshape(-1, 1)
    batches = [{"input_ids": part, "labels": -part} for part in rows.split(sizes)]
    seen = []
    for rank in range(workers):
        own, numbers = distributed.share(batches, World(rank, workers))
        assert torch.cat([batch["input_ids"] for batch in own]).flatten().tolist() == numbers
        assert torch.cat([batch["labels"] for batch in own]).flatten().tolist() == [-n for n in numbers]
        seen += numbers
    assert sorted(seen) == list(range(sum(sizes)))


def test_a_launcher_that_starts_fewer_workers_than_asked_for_is_found_out(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="2 workers were asked for and 1 are there"):  # noqa: SIM117
        with distributed.joined("ddp", size=2, device="cpu"):
            raise AssertionError("it trained")
    assert not torch.distributed.is_initialized()


def test_what_shards_cannot_train_is_refused(exactly, write_lines):
    sharded = World(0, 2, "fsdp")
    with pytest.raises(RecipeError, match="optimizer muon needs whole matrices"):
        distributed.check(exactly.model_copy(update={"optimizer": "muon"}), sharded)
    with pytest.raises(RecipeError, match=r"adapters are small.*BANYAN_PARALLEL=ddp"):
        distributed.check(write_lines, sharded)
    distributed.check(write_lines, World(0, 2))


def test_a_setting_without_effect_and_workers_for_nobody_are_errors(exactly):
    assert launch_of(exactly, settings=Settings()) is None
    with pytest.raises(RecipeError, match="fsdp has no effect on one worker"):
        launch_of(exactly, settings=Settings(parallel="fsdp"))
    found = launch_of(exactly, settings=Settings(workers=2))
    assert found.conditions == {"parallel": "2 workers, ddp, gloo", "threads": 1}


def test_rows_that_do_not_go_round_are_refused_before_anything_runs(exactly):
    distributed.check(exactly, World(0, 4))
    with pytest.raises(RecipeError, match="8 rows a step in batches of 2 do not go round 3 workers"):
        distributed.check(exactly, World(0, 3))
