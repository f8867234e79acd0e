"""Tokens a second of fine-tuning: our loop, transformers.Trainer with PEFT, and LLaMA-Factory, on the same rows.

SmolLM2-135M by LoRA with the settings of the recipe `summary`, and MiniLM trained whole with those of `library`. The
rows are paragraphs of this project's own documentation. Two Trainers: `trainer` gets the very model, batches and
optimizer of ours, so that only the loops differ; `trainer_as_shipped` gets what `from_pretrained` and `get_peft_model`
give (its own attention and AdamW). LLaMA-Factory (.bench/finetune/, made at the first run; LLAMAFACTORY=0 leaves it
out) reads the same texts in the same order; it has no task for MiniLM. Tokens are those that are not padding.

The ways take turns, REPEATS times (3), STEPS optimizer steps each (8), of which the first two are not counted; each is
a process of its own. SUBJECTS=smollm2-lora,minilm leaves one out.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WARM_UP = 2
PACKAGES = ("torch", "transformers", "peft", "accelerate")
SUBJECTS = {"smollm2-lora": "summary", "minilm": "library"}
"""Subject → the recipe with its settings."""
WAYS = ("ours", "trainer", "trainer_as_shipped", "llamafactory")
ENVIRONMENT = ROOT / ".bench" / "finetune"
PEER_PACKAGES = (
    "llamafactory==0.9.5", "transformers==5.6.0", "peft==0.18.1", "accelerate==1.11.0", "trl==0.24.0",
    "datasets==4.0.0", "torchdata==0.11.0", "tyro<0.9", "av==16.0.0", "omegaconf", "antlr4-python3-runtime==4.9.3",
    "docstring_parser", "shtab", "einops", "fire", "termcolor", "hf-transfer", "modelscope", "sse-starlette",
    "tokenizers==0.22.2", "huggingface-hub>=1.5,<2",  # transformers 5.6 refuses newer ones
    "multiprocess", "dill", "xxhash", "aiohttp", "fsspec", "sentencepiece", "tiktoken",
)  # fmt: skip
"""Without their dependencies, since torch is to be ours."""


def paragraphs() -> list[tuple[str, str]]:
    """Text and what follows it: the documentation's paragraphs of 20 words or more, each divided at two thirds."""
    found = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.split(r"\n\s*\n", path.read_text("utf-8")):
            words = block.split()
            if len(words) >= 20 and not block.lstrip().startswith(("|", "```")):
                cut = len(words) * 2 // 3
                found.append((" ".join(words[:cut]), " ".join(words[cut:])))
    return found


def recipe_of(subject: str, steps: int) -> Any:
    """The recipe's settings, with a rate that stays, a number of steps, and no checkpoint on the way."""
    from components.recipes import Finetune, load_recipe

    recipe = load_recipe(ROOT / "flows" / "recipes" / f"{SUBJECTS[subject]}.yaml")
    fields = {
        "num_epochs": None, "num_steps": steps, "schedule": "constant", "warmup_share": 0.0, "device": "cpu",
        "checkpoint_every_steps": 10**6, "table": "rows", "splits": {"train": None},
    }  # fmt: skip
    return Finetune(**{**recipe.model_dump(), **fields})


def tabled(recipe: Any, folder: Path) -> tuple[Path, Sequence[str]]:
    """A data version with the paragraphs as the recipe's table, and its labels: the first letters."""
    import pandas as pd

    from components.data import tables

    texts, targets = zip(*paragraphs(), strict=True)
    labels = [next((letter for letter in text.lower() if letter.isascii() and letter.isalpha()), "a") for text in texts]
    frame = pd.DataFrame({"text": texts, "target": targets, "label": labels})
    frame["id"] = [f"{i:05}" for i in range(len(frame))]
    frame = frame.assign(source="docs", licence="Apache-2.0", group="docs", origin="file", imputed="")
    tables.write_split(folder, recipe.table, "train", frame, task=recipe.task)
    names = sorted(set(labels)) if recipe.task == "classification" else []
    tables.write_table_info(folder, recipe.table, task=recipe.task, labels=names, licences={"docs": "Apache-2.0"})
    return folder, names


def base(recipe: Any) -> Path:
    """The folder of the recipe's pretrained weights."""
    from components.assets import weights
    from components.settings import load_settings

    return weights(recipe.base, settings=load_settings())


def counted(ends: list[float], tokens: list[int]) -> float:
    """Tokens a second from the end of the warm-up to the last step's; `tokens` are those of each step."""
    return sum(tokens[WARM_UP:]) / (ends[-1] - ends[WARM_UP - 1])


# ---------------------------------------------------------------- ours


def ours(subject: str, steps: int) -> float:
    """`finetune` as a flow calls it, timed by the end of each step."""
    from components.training.finetuning import finetune

    recipe, ends, tokens = recipe_of(subject, steps), [], []

    def on_step(progress: Any) -> None:
        ends.append(time.perf_counter())
        tokens.append(0)

    with tempfile.TemporaryDirectory() as folder:
        data, _ = tabled(recipe, Path(folder) / "data")
        _, _, batches, _ = material(recipe, data)
        finetune(recipe, data_dir=data, weights_dir=base(recipe), run_dir=Path(folder) / "run", on_step=on_step)
    return counted(ends, [sum(int(batch["attention_mask"].sum()) for batch in step) for step in batches])


# ---------------------------------------------------------------- transformers.Trainer


def material(recipe: Any, data: Path) -> tuple[Any, Any, list[list[dict[str, Any]]], Any]:
    """Model, task, the batches of each step as `finetune` makes them, and the base's folder."""
    from components.data import tables
    from components.models import pretrained
    from components.tasks import get_task
    from components.training.finetuning import training_rows
    from components.training.seeds import RowOrder

    task, folder = get_task(recipe.task), base(recipe)
    labels = tables.table_info(data, recipe.table).labels
    model, tokenizer = pretrained.load_base(folder, task=task, labels=labels, recipe=recipe)
    rows = task.rows(training_rows(recipe, data_dir=data), tokenizer, recipe, labels)
    size = recipe.batch_size
    order = RowOrder(num_rows=len(rows), rows_per_step=size * recipe.num_accumulation_steps, seed=recipe.seed)
    batches = []
    for step in range(recipe.num_steps):
        chosen = sorted(order.rows(step), key=lambda i: len(rows[i]["input_ids"]))
        parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        batches.append([task.collate([rows[i] for i in part], tokenizer.pad_token_id) for part in parts])
    return model, task, batches, folder


def trainer(subject: str, steps: int, *, as_shipped: bool) -> float:
    """transformers.Trainer over the same batches; logging, saving and reports off."""
    import torch
    import transformers

    recipe = recipe_of(subject, steps)
    with tempfile.TemporaryDirectory() as temporary:
        data, labels = tabled(recipe, Path(temporary) / "data")
        model, task, batches, folder = material(recipe, data)
        flat = [batch for step in batches for batch in step]
        optims: tuple[Any, Any] = (None, None)
        if as_shipped:
            model = shipped(recipe, folder, num_labels=len(labels))
        else:
            from components.training import optimizers

            model.train()
            optimizer = optimizers.build(model, recipe)[0]
            optims = (optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0))

        class Same(transformers.Trainer):  # type: ignore[misc]
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
                total, count = task.loss(model, inputs)
                return (total / count, None) if return_outputs else total / count

        ends = _ends(transformers.TrainerCallback)()
        arguments = transformers.TrainingArguments(
            output_dir=str(Path(temporary) / "out"), max_steps=steps, per_device_train_batch_size=1,
            gradient_accumulation_steps=recipe.num_accumulation_steps, learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay, lr_scheduler_type="constant", bf16=True, use_cpu=True,
            max_grad_norm=recipe.max_gradient_norm, save_strategy="no", report_to=[], logging_strategy="no",
            disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False, seed=0,
            train_sampling_strategy="sequential",
        )  # fmt: skip
        peer = Same(
            model=model, args=arguments, train_dataset=flat, optimizers=optims, callbacks=[ends],
            data_collator=lambda one: one[0],  # a batch of ours is one row of its data set
        )  # fmt: skip
        peer.remove_callback(transformers.PrinterCallback)
        peer.train()
        return counted(ends.at, [sum(int(batch["attention_mask"].sum()) for batch in step) for step in batches])


def shipped(recipe: Any, folder: Path, *, num_labels: int) -> Any:
    """What a user of transformers and PEFT has: their defaults, the same rank and targets."""
    import peft
    import torch
    import transformers

    if recipe.adaptation == "full":
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=num_labels, dtype=torch.float32
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    rank = recipe.lora_rank
    return peft.get_peft_model(
        model,
        peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"),
    )


def _ends(callback: Any) -> Any:
    """A callback that notes when steps end, and what the trainer says it has read by then."""

    class Ends(callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.at: list[float] = []
            self.read: list[int] = []

        def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            self.at.append(time.perf_counter())
            self.read.append(int(state.num_input_tokens_seen))

    return Ends


# ---------------------------------------------------------------- LLaMA-Factory, in an environment of its own


def llamafactory_environment() -> tuple[Path | None, str]:
    """Its Python, or None and why there is none. Made once; torch is ours, by path."""
    python = ENVIRONMENT / "env" / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print("making LLaMA-Factory's environment in .bench/finetune", flush=True)
        import torch

        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT / "env"], check=True)
        [site] = (ENVIRONMENT / "env" / "lib").glob("python*/site-packages")
        (site / "zz-torch.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
        # It imports torchaudio whatever it trains, to read sound; none is built for this torch, and none is read here.
        (site / "torchaudio.py").touch()
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--no-deps", *PEER_PACKAGES],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return None, "it cannot be installed: " + done.stderr.strip().splitlines()[-1][:300]
        (ENVIRONMENT / "ready").touch()
    done = subprocess.run(
        [python, "-c", "import llamafactory.train.tuner"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return None, "it cannot be imported: " + done.stderr.strip().splitlines()[-1][:300]
    return python, ""


def llamafactory(settings: dict[str, Any]) -> dict[str, Any]:
    """Run by its own Python: supervised fine-tuning by LoRA with the given settings."""
    import transformers
    from llamafactory.train.tuner import run_exp  # type: ignore[import-not-found]

    ends = _ends(transformers.TrainerCallback)()
    run_exp(args=settings, callbacks=[ends])
    tokens = [now - before for before, now in zip([0, *ends.read], ends.read, strict=False)]
    return {
        "rate": counted(ends.at, tokens),
        "versions": {name: version(name) for name in ("llamafactory", *PACKAGES)},
    }


def llamafactory_settings(recipe: Any, folder: Path) -> dict[str, Any]:
    """Our settings in its words, and the same rows as a data set of its own."""
    rows = [{"instruction": text, "input": "", "output": target} for text, target in paragraphs()]
    (folder / "rows.json").write_text(json.dumps(rows), "utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), "utf-8")
    return {
        "stage": "sft", "do_train": True, "model_name_or_path": str(base(recipe)), "finetuning_type": "lora",
        "lora_rank": recipe.lora_rank, "lora_alpha": 2 * recipe.lora_rank, "lora_target": "all",
        "template": "empty", "dataset": "rows", "dataset_dir": str(folder), "cutoff_len": recipe.max_length_tokens,
        "output_dir": str(folder / "out"), "overwrite_cache": True, "preprocessing_num_workers": 1,
        "per_device_train_batch_size": recipe.batch_size, "learning_rate": recipe.learning_rate,
        "gradient_accumulation_steps": recipe.num_accumulation_steps, "lr_scheduler_type": "constant",
        "weight_decay": recipe.weight_decay, "max_grad_norm": recipe.max_gradient_norm, "bf16": True, "use_cpu": True,
        "max_steps": recipe.num_steps, "save_strategy": "no", "report_to": "none", "logging_steps": 10**6,
        "disable_tqdm": True, "include_num_input_tokens_seen": "non_padding", "disable_shuffling": True,
        "dataloader_num_workers": 0, "gradient_checkpointing": False, "disable_gradient_checkpointing": True,
        "seed": 0,
    }  # fmt: skip


# ---------------------------------------------------------------- comparing


def rate(way: str, subject: str, steps: int, python: Path | None) -> dict[str, Any]:
    """Tokens a second of one way, in a process of its own.

    Raises:
        RuntimeError: it failed; with the last line that it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        job: dict[str, Any] = {"way": way, "subject": subject, "steps": steps}
        if way == "llamafactory":
            job["settings"] = llamafactory_settings(recipe_of(subject, steps), Path(folder))
        chosen = str(python) if way == "llamafactory" else sys.executable
        start = ["-P", __file__] if way == "llamafactory" else ["-m", "tests.benchmarks.finetune"]
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(
            [chosen, *start, json.dumps(job)], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
        )
    if done.returncode:
        raise RuntimeError(f"{way}: {done.stderr.strip().splitlines()[-1][:300]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Take turns, and say what came out."""
    repeats, steps = int(os.environ.get("REPEATS", "3")), int(os.environ.get("STEPS", "8"))
    if steps <= WARM_UP:
        sys.exit(f"STEPS={steps}: the first {WARM_UP} are not counted; give more")
    subjects = os.environ.get("SUBJECTS", ",".join(SUBJECTS)).split(",")
    python, reason = (None, "left out by LLAMAFACTORY=0")
    if os.environ.get("LLAMAFACTORY", "1") != "0" and "smollm2-lora" in subjects:
        python, reason = llamafactory_environment()
    reasons = {"minilm": "LLaMA-Factory trains models that write; MiniLM is an encoder with a classifier"}
    if python is None:
        reasons["smollm2-lora"] = reason
    rates: dict[str, dict[str, list[float]]] = {subject: {way: [] for way in WAYS} for subject in subjects}
    peer_versions: dict[str, str] = {}
    for turn in range(repeats):
        for subject in subjects:
            for way in WAYS[turn % len(WAYS) :] + WAYS[: turn % len(WAYS)]:
                if way == "llamafactory" and subject in reasons:
                    continue
                try:
                    found = rate(way, subject, steps, python)
                except RuntimeError as err:
                    if way != "llamafactory":
                        raise
                    reasons[subject] = f"it fails: {err}"
                    print(reasons[subject], flush=True)
                    continue
                peer_versions = found.get("versions", peer_versions)
                rates[subject][way].append(found["rate"])
                print(f"{subject:<13} {way:<19} {found['rate']:8.1f} tokens/s", flush=True)
    medians = {
        subject: {way: round(statistics.median(found), 1) if found else None for way, found in by_way.items()}
        for subject, by_way in rates.items()
    }

    def ratios(way: str) -> dict[str, float | None]:
        return {
            subject: round(found["ours"] / found[way], 3) if found["ours"] and found[way] else None
            for subject, found in medians.items()
        }

    result = {
        "benchmark": "finetune",
        "ratio_vs_trainer": ratios("trainer"),
        "ratio_vs_trainer_as_shipped": ratios("trainer_as_shipped"),
        "ratio_vs_llamafactory": ratios("llamafactory"),
        "llamafactory_is_missing_because": {subject: reasons[subject] for subject in subjects if subject in reasons},
        "tokens_per_second": medians,
        "all_tokens_per_second": rates,
        "steps": steps,
        "repeats": repeats,
        "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
        "load_average": os.getloadavg()[0],
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "llamafactory_versions": peer_versions,
    }
    print(json.dumps(result))


def one(job: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own measures."""
    if job["way"] == "llamafactory":
        return llamafactory(job["settings"])
    ways: dict[str, Callable[[], float]] = {
        "ours": lambda: ours(job["subject"], job["steps"]),
        "trainer": lambda: trainer(job["subject"], job["steps"], as_shipped=False),
        "trainer_as_shipped": lambda: trainer(job["subject"], job["steps"], as_shipped=True),
    }
    return {"rate": ways[job["way"]]()}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(one(json.loads(sys.argv[1]))))
    else:
        main()
