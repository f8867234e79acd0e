"""Two tasks on one base: two versions of adapters beside two of merged weights. Folders, memory, time a token.

SmolLM2-135M, LoRA of rank 8 on every linear map, two steps of training each: what is learnt changes neither size nor
time. Each pair is loaded by torch engines in a process of its own, whose proportional set size is read before, after
one and after two of them; then each writes the same number of tokens, again and again. ADAPTERS_TOKENS=48
ADAPTERS_REPEATS=9.
"""

import gc
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

from components import assets
from components.data import tables
from components.recipes import Finetune
from components.refs import ModelRef
from components.settings import load_settings
from tests.benchmarks.data_memory import pss
from tests.small_trainings import labelled

NUM_TOKENS = int(os.environ.get("ADAPTERS_TOKENS", "48"))
REPEATS = int(os.environ.get("ADAPTERS_REPEATS", "9"))
TASKS = {"summarisation": "lines", "classification_prompt": "topics"}
PACKAGES = ("torch", "transformers", "peft")
TEXT = "Return the shortest path between two nodes of a graph, or raise an error where there is none."


def write_tables(folder: Path) -> Path:
    for table, task in (("topics", "classification"), ("lines", "summarisation")):
        tables.write_split(folder, table, "train", labelled(range(24)), task=task)
        labels = sorted(set(labelled(range(3))["label"])) if task == "classification" else []
        tables.write_table_info(folder, table, task=task, labels=labels, licences={"tests": "Apache-2.0"})
    return folder


def train(scratch: Path, *, keep: bool) -> list[tuple[str, Path]]:
    """A version of each task: task, folder."""
    from components.training.finetuning import finetune

    made = []
    for task, table in TASKS.items():
        recipe = Finetune(
            name=task, task=task, table=table, base="smollm2", num_steps=2, batch_size=4, max_length_tokens=96,
            max_new_tokens=NUM_TOKENS, learning_rate=1e-3, adaptation="lora", lora_rank=8, keep_adapters=keep,
            device="cpu",
        )  # fmt: skip
        weights_dir = assets.weights("smollm2", settings=load_settings())
        run_dir = scratch / f"{task}-{keep}"
        done = finetune(recipe, data_dir=scratch / "data", weights_dir=weights_dir, run_dir=run_dir)
        made.append((task, done.model_dir))
    return made


def measured(versions: list[tuple[str, Path]]) -> dict[str, float]:
    """In a process of its own: megabytes, and milliseconds a token written."""
    from components.serving.decoding import Draft, Sampling
    from components.serving.engines import TorchEngine

    def megabytes() -> float:
        gc.collect()
        return pss(psutil.Process()) / 1e6

    engines = []
    found = {}
    for number, (task, folder) in enumerate(versions):
        if number == 0:  # what torch and transformers take is there before the first model
            import peft  # noqa: F401
            import transformers  # noqa: F401

            found["pss_mb_without"] = megabytes()
        ref = ModelRef(name=f"banyan-{task}", version=1, run_id="r", weights_sha256="0" * 64)
        engines.append(TorchEngine(ref, folder, task=task))
        found[f"pss_mb_{number + 1}"] = megabytes()
    times = []
    for _ in range(REPEATS):
        for engine in engines:
            decoder = engine.decoder
            assert decoder is not None
            forced = tuple(range(1000, 1000 + NUM_TOKENS))  # the same work for all, whatever they would say
            draft = Draft(TEXT, Sampling(max_tokens=NUM_TOKENS), lambda _: None, forced=forced)
            began = time.perf_counter()
            decoder.join([draft])
            while decoder.num_rows:
                decoder.step()
            draft.done.result(0)
            times.append(1000 * (time.perf_counter() - began) / NUM_TOKENS)
    return found | {"ms_a_token": statistics.median(times)}


def _apart(versions: list[tuple[str, Path]]) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (versions,))


def main() -> int:
    result: dict[str, object] = {"benchmark": "adapters"}
    with tempfile.TemporaryDirectory(prefix="banyan-adapters-") as folder:
        scratch = Path(folder)
        write_tables(scratch / "data")
        for name, keep in (("adapters", True), ("merged", False)):
            versions = train(scratch, keep=keep)
            sizes = [sum(file.stat().st_size for file in made.iterdir()) / 1e6 for _, made in versions]
            weights = [next(made.glob("*.safetensors")).stat().st_size / 1e6 for _, made in versions]
            found = _apart(versions) | {"folder_mb": statistics.mean(sizes), "weights_mb": statistics.mean(weights)}
            result[name] = {key: round(value, 2) for key, value in found.items()}
            print(f"{name}: {result[name]}", flush=True)
    result["machine"] = f"{platform.machine()}, {os.cpu_count()} CPUs"
    result["versions"] = {name: version(name) for name in PACKAGES}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
