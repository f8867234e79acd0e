"""Seconds of training to a loss: our recipe `characters-gpt` beside nanoGPT's CPU example, on the same text.

NANOGPT is a checkout of github.com/karpathy/nanoGPT, TEXT the file it trains on (tinyshakespeare). Both train on the
first 90 % and are measured on all of the rest, in rows of 64 characters, by the same function. nanoGPT runs as its
README says (4 layers, 4 heads, width 128, block 64, batch 12, 2,000 iterations, compile=False), on its own preparation
of the text; ours is `pretrain` with a recipe of flows/recipes, in a process of its own for each seed.

Ours counts from before the model is built to the end of the last step: weights, optimizers, whatever is compiled on the
way. nanoGPT's clock is the sum of the times it prints for its iterations, without what it does before the first and
without its own evaluations. Modules are loaded before the clock, and tokenizing and evaluating are outside, on both
sides. Runs take turns.

RECIPE=file takes another recipe; SPLIT=slice leaves the last 10 % of the text unopened and measures on the end of the
first 90 %, which is how the recipe was tuned (PEER_RUNS=0 leaves nanoGPT out). PEER_RUNS=3, SEEDS=2,3,4,5,6,
PEER_ITERATIONS=2000, STEPS (of ours, by default the recipe's), THREADS=2: smaller ones for a quick look.
"""

import dataclasses
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "transformers")
BLOCK = 64
"""Characters of a row, in training and in the measurement, on both sides."""
ITERATION = re.compile(r"^iter (\d+): loss [\d.]+, time ([\d.]+)ms", re.MULTILINE)


def split(text: str, which: str) -> tuple[str, str]:
    """What is trained on and what is measured on."""
    train, rest = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
    if which == "slice":
        return train[: int(0.9 * len(train))], train[int(0.9 * len(train)) :]
    return train, rest


def mean_loss(logits_of: Any, ids: list[int]) -> float:
    """Nats a character over all of a text, in rows that follow each other; the last one is shorter."""
    import torch

    total, stream = 0.0, torch.tensor(ids)
    whole = (len(ids) - 1) // BLOCK * BLOCK
    rows = [*stream[: whole + 1].unfold(0, BLOCK + 1, BLOCK).split(128), stream[whole:][None]]
    with torch.inference_mode():
        for row in rows:
            if row.shape[1] > 1:
                logits = logits_of(row[:, :-1]).float().flatten(0, 1)
                total += torch.nn.functional.cross_entropy(logits, row[:, 1:].flatten(), reduction="sum").item()
    return total / (len(ids) - 1)


# ---------------------------------------------------------------- ours, in a process of its own


def ours(text: Path, recipe_file: Path, *, seed: int, steps: int, which: str) -> dict[str, Any]:
    """Train by the recipe on a table made of the text; the loss over all of what is measured on."""
    import pandas as pd

    from components.data import tables
    from components.models import families, feedforward, ngram_gpt, recurrent, transformer  # noqa: F401  # see above
    from components.recipes import Pretrain, load_recipe
    from components.training.pretraining import pretrain

    recipe = load_recipe(recipe_file)
    recipe = Pretrain(**{**recipe.model_dump(), "seed": seed, **({"num_steps": steps} if steps else {})})
    train, heldout = split(text.read_text("utf-8"), which)
    times: list[float] = []
    family = families.FAMILIES[recipe.family]

    def build(*args: Any) -> Any:
        times.append(time.perf_counter())
        return family.build(*args)

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        for name, content in (("train", train), ("heldout", heldout)):
            row = {"id": name, "text": content, "source": "text", "licence": "", "group": name}
            tables.write_split(data, recipe.table, name, pd.DataFrame([row]), task=tables.CORPUS)
        tables.write_table_info(data, recipe.table, task=tables.CORPUS, labels=(), licences={"text": ""})
        families.FAMILIES[recipe.family] = dataclasses.replace(family, build=build)
        try:
            trained = pretrain(
                recipe,
                data_dir=data,
                run_dir=Path(folder) / "run",
                on_step=lambda _: times.append(time.perf_counter()),
            )
        finally:
            families.FAMILIES[recipe.family] = family
        model, tokenizer = families.load_language_model(trained.model_dir)
        ids = tokenizer(heldout, add_special_tokens=False, verbose=False)["input_ids"]
        return {
            "seconds": times[-1] - times[0],
            "val_loss": mean_loss(lambda rows: model(input_ids=rows).logits, ids),
            "steps": trained.num_steps,
            "parameters": model.num_parameters(),
            "weights_sha256": trained.weights_sha256,
        }


# ---------------------------------------------------------------- nanoGPT


def prepare_peer(checkout: Path, text: str, folder: Path, environment: dict[str, str]) -> None:
    """A copy of the checkout's scripts, and the text as its own preparation makes it."""
    if not (checkout / "train.py").is_file():
        sys.exit(f"NANOGPT: {checkout} holds no train.py; give a checkout of github.com/karpathy/nanoGPT")
    for part in ("train.py", "model.py", "configurator.py"):
        shutil.copy(checkout / part, folder)
    shutil.copytree(checkout / "config", folder / "config")
    data = folder / "data" / "shakespeare_char"
    shutil.copytree(checkout / "data" / "shakespeare_char", data)
    (data / "input.txt").write_text(text, "utf-8")
    subprocess.run([sys.executable, data / "prepare.py"], check=True, stdout=subprocess.DEVNULL, env=environment)


def peer(folder: Path, *, iterations: int, seed_run: int, environment: dict[str, str]) -> tuple[float, Path]:
    """Seconds of its iterations, and the folder of its checkpoint.

    Two of its iterations carry an evaluation, before the first and after the last: they count as the median one.
    """
    out = folder / f"out-{seed_run}"
    flags = {
        "device": "cpu", "compile": False, "eval_iters": 20, "log_interval": 1, "block_size": BLOCK, "batch_size": 12,
        "n_layer": 4, "n_head": 4, "n_embd": 128, "max_iters": iterations, "lr_decay_iters": iterations,
        "dropout": 0.0, "eval_interval": iterations, "always_save_checkpoint": True, "out_dir": out,
    }  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    done = subprocess.run(
        [sys.executable, "train.py", "config/train_shakespeare_char.py", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"nanoGPT failed:\n{done.stderr[-2000:]}")
    took = {int(number): float(ms) for number, ms in ITERATION.findall(done.stdout)}
    plain = [took[i] for i in range(1, iterations)]
    return (sum(plain) + statistics.median(plain)) / 1000, out


def peer_loss(folder: Path, out: Path) -> dict[str, Any]:
    """Of its checkpoint, over all of its validation text; run in a process of its own."""
    import numpy as np
    import torch

    sys.path.insert(0, str(folder))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    kept = torch.load(out / "ckpt.pt", map_location="cpu", weights_only=False)  # made by it a moment ago
    model = GPT(GPTConfig(**kept["model_args"]))
    model.load_state_dict(kept["model"])
    model.eval()
    ids = np.fromfile(folder / "data" / "shakespeare_char" / "val.bin", dtype=np.uint16).astype(np.int64).tolist()
    # it gives the logits of all places only where it is given targets
    loss = mean_loss(lambda rows: model(rows, rows)[0], ids)
    return {"val_loss": loss, "parameters": sum(p.numel() for p in model.parameters())}


# ---------------------------------------------------------------- both


def child(arguments: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """This module again, in a process of its own: {"of": "ours" | "peer", …} → what it measured."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.time_to_loss", json.dumps(arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"a run failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def given(name: str, needs: str) -> Path:
    """A path that an environment variable names; exits with 2 where it does not."""
    value = os.environ.get(name, "")
    if not value or not Path(value).exists():
        print(f"{name}={value or '…'}: {needs}", file=sys.stderr)
        sys.exit(2)
    return Path(value).resolve()


def main() -> None:
    """Take turns, and say what came out."""
    runs, iterations = int(os.environ.get("PEER_RUNS", "3")), int(os.environ.get("PEER_ITERATIONS", "2000"))
    seeds = [int(seed) for seed in os.environ.get("SEEDS", "2,3,4,5,6").split(",")]
    which = os.environ.get("SPLIT", "validation")
    text = given("TEXT", "the text to train on, such as tinyshakespeare's input.txt")
    checkout = given("NANOGPT", "a checkout of github.com/karpathy/nanoGPT") if runs else None
    recipe = Path(os.environ.get("RECIPE", ROOT / "flows" / "recipes" / "characters-gpt.yaml")).resolve()
    threads = os.environ.get("THREADS", "2")
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    asked = {
        "of": "ours", "text": str(text), "recipe": str(recipe), "steps": int(os.environ.get("STEPS", "0")),
        "which": which,
    }  # fmt: skip
    our_runs, peer_seconds, peer_losses = [], [], []
    with tempfile.TemporaryDirectory(prefix="time_to_loss-") as temporary:
        folder = Path(temporary)
        if checkout:
            content = text.read_text("utf-8")
            # nanoGPT divides what it is given 90 : 10
            prepare_peer(
                checkout, content if which != "slice" else content[: int(0.9 * len(content))], folder, environment
            )
        for turn in range(max(runs, len(seeds))):
            if turn < len(seeds):
                one = child({**asked, "seed": seeds[turn]}, environment)
                print(f"ours, seed {seeds[turn]}: {one['seconds']:.2f} s, loss {one['val_loss']:.4f}", flush=True)
                our_runs.append(one)
            if turn < runs:
                seconds, out = peer(folder, iterations=iterations, seed_run=turn, environment=environment)
                there = child({"of": "peer", "folder": str(folder), "out": str(out)}, environment)
                print(f"nanoGPT, run {turn + 1}: {seconds:.2f} s, loss {there['val_loss']:.4f}", flush=True)
                peer_seconds.append(seconds)
                peer_losses.append(there)
    median = statistics.median(one["seconds"] for one in our_runs)
    peer_median = statistics.median(peer_seconds) if peer_seconds else None
    result = {
        "benchmark": "time_to_loss",
        "ratio_vs_nanogpt": round(median / peer_median, 4) if peer_median else None,
        "val_loss": {seed: round(one["val_loss"], 4) for seed, one in zip(seeds, our_runs, strict=True)},
        "seconds": round(median, 3),
        "seconds_per_seed": {seed: round(one["seconds"], 3) for seed, one in zip(seeds, our_runs, strict=True)},
        "nanogpt_seconds": round(peer_median, 3) if peer_median else None,
        "nanogpt_seconds_per_run": [round(seconds, 3) for seconds in peer_seconds],
        "nanogpt_val_loss": [round(one["val_loss"], 4) for one in peer_losses],
        "parameters": our_runs[0]["parameters"],
        "nanogpt_parameters": peer_losses[0]["parameters"] if peer_losses else None,
        "steps": our_runs[0]["steps"],
        "nanogpt_iterations": iterations,
        "recipe": recipe.stem,
        "measured_on": which,
        "threads": int(threads),
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        job = json.loads(sys.argv[1])
        if job.pop("of") == "ours":
            found_here = ours(
                Path(job["text"]), Path(job["recipe"]), seed=job["seed"], steps=job["steps"], which=job["which"]
            )
        else:
            found_here = peer_loss(Path(job["folder"]), Path(job["out"]))
        print(json.dumps(found_here))
    else:
        main()
