"""What our training loop adds to a step, and what transformers.Trainer adds: 0.8 M, 10 M, and LoRA on 135 M parameters.

The same model, batch, precision, optimiser and number of threads three times: the bare PyTorch step (forward, backward,
optimiser), our loop with all it does besides (row order, dropout's seed, clipping, checks, progress), and the Trainer.
Short blocks of steps take turns, since a machine is faster in one minute than in the next; the first steps of a block
are not counted. A turn's ratio is of its blocks' medians, and what is said is the median turn's; `interval` is where
95 % of the medians of resampled turns lie. REPEATS multiplies the turns (default 1), SIZES=0.8M,10M leaves some out.
Run it on a machine that does nothing else; where that cannot be had, CLOCK=cpu OMP_NUM_THREADS=1 counts the process's
CPU time, which leaves out waiting for the core but not the caches that others use.
"""

import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers

from components.errors import BanyanError
from components.recipes import Finetune, Pretrain
from components.training import optimizers
from components.training.loop import fit

PACKAGES = ("torch", "transformers", "peft", "accelerate")
clock = {"wall": time.perf_counter, "cpu": time.process_time}[os.environ.get("CLOCK", "wall")]
WARM_UP = 2
"""Steps of a block that are not counted: allocations, the Trainer's own set-up."""
Batch = dict[str, torch.Tensor]


class Subject:
    """One size: a way to make its model anew, its batches, its recipe."""

    def __init__(
        self, recipe: Any, make: Callable[[], Any], batch: Callable[[int], Batch], *, num_steps: int, num_turns: int
    ) -> None:
        self.recipe, self.make, self.batch, self.num_steps, self.num_turns = recipe, make, batch, num_steps, num_turns


def gpt(
    name: str, *, layers: int, width: int, vocab_size: int, rows: int, length: int, steps: int, turns: int
) -> Subject:
    """A GPT of ours from nothing, on random tokens: what they say does not change how long a step takes."""
    from components.models.families import FAMILIES
    from components.training.device import attention

    recipe = Pretrain(
        name=name, num_steps=steps, batch_size=rows, max_length_tokens=length, num_layers=layers, hidden_size=width,
        vocab_size=max(300, vocab_size), learning_rate=1e-3, checkpoint_every_steps=10**6, device="cpu",
    )  # fmt: skip

    def make() -> Any:
        torch.manual_seed(0)
        model = FAMILIES["gpt"].build(recipe, vocab_size)
        model.set_attn_implementation(attention(torch.device("cpu")))
        return model

    def batch(step: int) -> Batch:
        ids = torch.randint(vocab_size, (rows, length + 1), generator=torch.Generator().manual_seed(step))
        return {"input_ids": ids[:, :-1], "labels": ids[:, 1:]}

    return Subject(recipe, make, batch, num_steps=steps, num_turns=turns)


def smollm2(steps: int, turns: int) -> Subject:
    """SmolLM2-135M by LoRA, as `summary` trains it: 4 rows of 73 tokens."""
    from components.assets import weights
    from components.models.pretrained import load_base
    from components.settings import load_settings
    from components.tasks import get_task

    recipe = Finetune(
        name="135M-lora", task="summarisation", table="summary", base="smollm2", num_steps=steps, batch_size=4,
        max_length_tokens=96, max_new_tokens=24, learning_rate=1e-3, adaptation="lora", lora_rank=8, device="cpu",
        checkpoint_every_steps=10**6,
    )  # fmt: skip
    folder = weights("smollm2", settings=load_settings())

    def make() -> Any:
        return load_base(folder, task=get_task("summarisation"), labels=[], recipe=recipe)[0]

    def batch(step: int) -> Batch:
        ids = torch.randint(49152, (4, 74), generator=torch.Generator().manual_seed(step))
        return {"input_ids": ids[:, :-1], "labels": ids[:, 1:]}

    return Subject(recipe, make, batch, num_steps=steps, num_turns=turns)


def summed(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropies in nats, and over how many tokens; the same for all three."""
    logits = model(input_ids=batch["input_ids"]).logits
    labels = batch["labels"].reshape(-1)
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels, reduction="sum")
    return loss, torch.tensor(len(labels))


# ---------------------------------------------------------------- the three


def bare(subject: Subject, model: Any) -> list[float]:
    """Forward, backward, optimiser: nothing else."""
    optims = optimizers.build(model, subject.recipe)
    model.train()
    seconds = []
    for step in range(subject.num_steps):
        batch = subject.batch(step)
        started = clock()
        with torch.autocast("cpu", torch.bfloat16):
            loss, count = summed(model, batch)
        (loss / count).backward()
        for optimizer in optims:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seconds.append(clock() - started)
    return seconds


def ours(subject: Subject, model: Any) -> list[float]:
    """From the end of one step to the end of the next, all between them included but the making of batches."""
    ends: list[float] = []
    made: list[float] = []

    def micro_batches(step: int) -> list[Batch]:
        started = clock()
        batch = subject.batch(step)
        made.append(clock() - started)
        return [batch]

    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            subject.recipe,
            micro_batches=micro_batches,
            loss=summed,
            num_steps=subject.num_steps,
            folder=Path(folder),
            key="benchmark",
            on_step=lambda _: ends.append(clock()),
        )
    return [0.0] + [after - before - made[i + 1] for i, (before, after) in enumerate(pairwise(ends))]


class _Ends(transformers.TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.at.append(clock())


class _Trainer(transformers.Trainer):  # type: ignore[misc]
    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        loss, count = summed(model, inputs)
        return (loss / count, None) if return_outputs else loss / count


def trainer(subject: Subject, model: Any) -> list[float]:
    """transformers.Trainer with the same optimiser and precision, logging, saving and reports off."""
    batches = [subject.batch(step) for step in range(subject.num_steps)]  # made beforehand, as ours are not counted
    rows = [{name: t[i] for name, t in batch.items()} for batch in batches for i in range(len(batch["input_ids"]))]
    optims = optimizers.build(model, subject.recipe)
    ends = _Ends()
    with tempfile.TemporaryDirectory() as folder:
        options = transformers.TrainingArguments(
            output_dir=folder, max_steps=subject.num_steps, per_device_train_batch_size=subject.recipe.batch_size,
            bf16=True, use_cpu=True, max_grad_norm=subject.recipe.max_gradient_norm, save_strategy="no", report_to=[],
            logging_strategy="no", disable_tqdm=True, dataloader_num_workers=0, seed=0, remove_unused_columns=False,
            dataloader_pin_memory=False,
        )  # fmt: skip
        schedule = torch.optim.lr_scheduler.ConstantLR(optims[0], factor=1.0)
        peer = _Trainer(
            model=model, args=options, train_dataset=rows, optimizers=(optims[0], schedule), callbacks=[ends]
        )
        peer.remove_callback(transformers.PrinterCallback)
        peer.train()
    return [0.0] + [after - before for before, after in pairwise(ends.at)]


# ---------------------------------------------------------------- comparing


def ratio(ours_: list[float], theirs: list[float]) -> dict[str, Any]:
    """Of each turn's medians: the median turn's, and where 95 % of the medians of resampled turns lie."""
    turns = [mine / other for mine, other in zip(ours_, theirs, strict=True)]
    dice = random.Random(0)
    drawn = sorted(statistics.median(dice.choices(turns, k=len(turns))) for _ in range(2000))
    return {"ratio": round(statistics.median(turns), 4), "interval": [round(drawn[50], 4), round(drawn[1949], 4)]}


def measure(subject: Subject, repeats: int) -> dict[str, list[float]]:
    """Median seconds of a step in every turn, by who took it; the order changes from turn to turn."""
    ways: dict[str, Callable[[Subject, Any], list[float]]] = {"bare": bare, "ours": ours, "trainer": trainer}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats * subject.num_turns):
        for name in sorted(ways, key=lambda way: (list(ways).index(way) + turn) % len(ways)):
            found[name].append(statistics.median(ways[name](subject, subject.make())[WARM_UP:]))
    return found


def main() -> None:
    transformers.logging.set_verbosity_error()
    repeats = int(os.environ.get("REPEATS", "1"))
    subjects: dict[str, Callable[[], Subject]] = {
        "0.8M": lambda: gpt("0.8M", layers=4, width=128, vocab_size=65, rows=12, length=64, steps=22, turns=18),
        "10M": lambda: gpt("10M", layers=6, width=384, vocab_size=4096, rows=8, length=128, steps=9, turns=9),
        "135M-lora": lambda: smollm2(steps=6, turns=7),
    }
    wanted = os.environ.get("SIZES", ",".join(subjects)).split(",")
    threads = torch.get_num_threads()
    print(f"{threads} threads, torch {torch.__version__}, turns × {repeats}", flush=True)
    vs_bare, vs_trainer, seconds, parameters = {}, {}, {}, {}
    for size in wanted:
        try:
            subject = subjects[size]()
        except BanyanError as err:
            print(f"{size}: left out: {err}", flush=True)
            continue
        parameters[size] = sum(p.numel() for p in subject.make().parameters())
        steps = measure(subject, repeats)
        vs_bare[size] = ratio(steps["ours"], steps["bare"])
        vs_trainer[size] = ratio(steps["ours"], steps["trainer"])
        seconds[size] = {name: round(statistics.median(each), 5) for name, each in steps.items()}
        print(f"{size:<10} {seconds[size]}  ours / bare {vs_bare[size]}, ours / trainer {vs_trainer[size]}", flush=True)
    result = {
        "benchmark": "step_overhead",
        "ratio_vs_bare_step": {size: one["ratio"] for size, one in vs_bare.items()},
        "ratio_vs_trainer": {size: one["ratio"] for size, one in vs_trainer.items()},
        "intervals": {"bare": vs_bare, "trainer": vs_trainer},
        "median_seconds": seconds,
        "parameters": parameters,
        "clock": os.environ.get("CLOCK", "wall"),
        "repeats": repeats,
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
