"""Kills trainings at random and lets them go on: do they end with the bits of trainings that nobody disturbed?

`KILLS=N` (default 100) SIGKILLs over as many tiny trainings as that takes, of every family and objective (what follows,
what is hidden, whether a text goes on; labels, tags, spans, numbers, texts; pairs and thumbs), of fine-tunings whole
and by LoRA, of every optimizer, in bf16 and fp32, accumulated and not, with dropout wherever the model has any.
`SEED=N` draws the kills; it is printed. A kill falls in a random step, at a random moment within it: between two
instructions of the step, while a checkpoint is written, or while the finished model is.

Each attempt is a process of its own. It is forked from one that has imported torch and computed nothing, so that an
attempt costs tenths of a second instead of five.
"""

import json
import multiprocessing
import os
import platform
import random
import signal
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

KILLS_A_RUN = 4
PRELOADED = [
    *("pandas", "torch", "peft", "components.training.finetuning", "components.training.pretraining"),
    "components.training.alignment",
    *(f"transformers.models.{name}.modeling_{name}" for name in ("bert", "gpt2", "llama", "qwen3")),
]
"""Imported once, before the attempts are forked: nothing of it computes or starts a thread."""
PACKAGES = ("torch", "transformers", "peft", "safetensors")
WORDS = {"graphs": "shortest path between nodes", "waves": "filter the brain signal", "web": "answer the http request"}
SHARED: dict[str, Any] = {"num_steps": 24, "batch_size": 4, "learning_rate": 5e-3, "checkpoint_every_steps": 3}
TINY = {"num_layers": 1, "hidden_size": 32, "vocab_size": 300, "max_length_tokens": 16, "sample_tokens": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw"},
    "muon, fp32": {"optimizer": "muon", "precision": "fp32"},
    "sgd, accumulated": {"optimizer": "sgd", "num_accumulation_steps": 3, "batch_size": 2},
}
OWN_FIELDS: dict[str, dict[str, Any]] = {
    **{name: {"num_heads": None, "num_layers": 2} for name in ("rnn", "lstm", "gru")},  # theirs is between layers
    "feedforward": {"num_heads": None, "context_tokens": 4},
    "ngram_gpt": {"context_tokens": 4},
}
"""Fields that a family needs or must not have, beside those that all have."""


def trainings() -> dict[str, dict[str, Any]]:
    """Name → recipe. Families come from the table of families: a new one is killed the day it is there."""
    from components.models.families import FAMILIES

    found: dict[str, dict[str, Any]] = {}
    tuning = SHARED | {"kind": "finetune", "base": "minilm", "max_length_tokens": 24}
    for task in ("entities", "question_answering", "regression"):
        found[task] = tuning | {"task": task, "table": task}
    judge = {"kind": "pretrain", "family": "transformer", "objective": "continuation", "dropout": 0.2, "num_heads": 2}
    found["transformer, continuation"] = SHARED | TINY | judge | {"evaluate_every_steps": 12}
    liked = {"kind": "preference", "task": "summarisation", "table": "lines", "base": "smollm2", "max_new_tokens": 4}
    adapters = {"adaptation": "lora", "lora_rank": 2, "dropout": 0.1, "max_length_tokens": 64}
    for method in ("dpo", "kto"):
        found[method] = SHARED | liked | adapters | {"method": method}
    for variant, fields in VARIANTS.items():
        for family in FAMILIES:
            own = {"num_heads": 2, **TINY, **OWN_FIELDS.get(family, {})}
            pretrain = {"kind": "pretrain", "family": family, "dropout": 0.2, "evaluate_every_steps": 12}
            found[f"{family}, {variant}"] = SHARED | pretrain | own | fields
        tuning = SHARED | {"kind": "finetune", "max_length_tokens": 24} | fields
        whole = {"task": "classification", "table": "topics", "base": "minilm"}
        found[f"classification, {variant}"] = tuning | whole
        generate = {"task": "summarisation", "table": "lines", "base": "smollm2", "max_new_tokens": 4}
        found[f"lora, {variant}"] = tuning | generate | {"adaptation": "lora", "lora_rank": 2, "max_length_tokens": 64}
    return {name: {"name": name} | recipe for name, recipe in found.items()}


# ---------------------------------------------------------------- the attempts


def train(recipe: dict[str, Any], folder: Path, run_dir: Path, on_step: Any = None) -> Any:
    """The recipe's training on the small data, as the platform does it."""
    import torch
    import transformers

    from components.recipes import parse_recipe
    from components.training.alignment import align
    from components.training.finetuning import finetune
    from components.training.pretraining import pretrain

    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    parsed = parse_recipe(recipe)
    given = {"data_dir": folder / "data", "run_dir": run_dir, "on_step": on_step}
    if parsed.kind == "pretrain":
        return pretrain(parsed, **given)
    if parsed.kind == "preference":
        del given["data_dir"]
        return align(parsed, preferences(parsed.method), weights_dir=folder / parsed.base, **given)
    return finetune(parsed, weights_dir=folder / parsed.base, **given)


def preferences(method: str) -> Any:
    """What people would have said of answers: rows for DPO or KTO."""
    import pandas as pd

    rows = []
    for i in range(24):
        label = sorted(WORDS)[i % 3]
        one = {"id": f"{i:02}", "prompt": f"{WORDS[label]} number {i}"}
        if method == "dpo":
            rows.append(one | {"chosen": f"It does {label}.", "rejected": "No idea."})
        else:
            rows.append(one | {"completion": ("No idea.", f"It does {label}.")[i % 2], "label": bool(i % 2)})
    return pd.DataFrame(rows)


def attempt(recipe: dict[str, Any], folder: Path, run_dir: Path, draw: str | None, answer: Connection) -> None:
    """Trains to the end, or to the moment that `draw` gives: a step, and a share of a step's time within the next."""
    began = [time.monotonic()]
    target = [0]
    dice = random.Random(draw)

    def on_step(progress: Any) -> None:
        if draw is None:
            return
        now, seconds = time.monotonic(), time.monotonic() - began[0]
        began[0] = now
        if not target[0]:  # the first step of this attempt
            furthest = progress.step + progress.num_steps // 2  # so that the kills spread over the run
            target[0] = dice.randint(progress.step, min(progress.num_steps, furthest))
            answer.send(target[0])
        if progress.step == target[0]:
            moment = dice.random() * max(seconds, 0.02)
            threading.Timer(moment, os.kill, (os.getpid(), signal.SIGKILL)).start()

    done = train(recipe, folder, run_dir, on_step)
    if draw is not None and target[0]:
        time.sleep(1)  # the kill is under way: it fell into the model's own writing, or just after it
    answer.send((done.weights_sha256, list(done.losses), done.resumed_from))


def run_one(context: Any, recipe: dict[str, Any], folder: Path, run_dir: Path, draw: str | None) -> Any:
    """What an attempt gave; or only the step after which it was killed, as meant.

    A training that was finished before this attempt has no step left to be killed in, and gives its result.
    """
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(recipe, folder, run_dir, draw, theirs))
    process.start()
    theirs.close()
    said: list[Any] = []
    try:
        while True:
            said.append(ours.recv())
    except EOFError:
        pass
    process.join()
    if process.exitcode == -signal.SIGKILL and draw is not None:
        return said[0]
    if process.exitcode != 0:
        raise SystemExit(f"an attempt at {recipe['name']} ended with exit code {process.exitcode}")
    return said[-1]


def campaign(num_kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """All of it; what was counted."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    context.Process(target=prepare, args=(folder,)).start()
    while not (folder / "ready").exists():
        time.sleep(0.1)
    recipes = list(trainings().items())
    runs, kills, equal, losses_equal, finished_when_killed = [], 0, 0, 0, 0
    number = 0
    while kills < num_kills:
        name, recipe = recipes[number % len(recipes)]
        recipe = recipe | {"seed": seed + number}
        place = folder / f"run-{number}"
        steps: list[int] = []
        whole = run_one(context, recipe, folder, place / "whole", None)
        for again in range(min(KILLS_A_RUN, num_kills - kills)):
            gave = run_one(context, recipe, folder, place / "cut", f"{seed}/{number}/{again}")
            if not isinstance(gave, int):  # an earlier kill fell after all was written
                finished_when_killed += 1
                break
            steps.append(gave)
        kills += len(steps)
        resumed = run_one(context, recipe, folder, place / "cut", None)
        same = resumed[0] == whole[0]
        equal, losses_equal = equal + same, losses_equal + (resumed[1] == whole[1])
        runs.append(
            {"name": name, "seed": seed + number, "killed_after_steps": steps, "equal": same, "last_from": resumed[2]}
        )
        verdict = "equal" if same else f"DIFFERENT: {whole[0]} undisturbed, {resumed[0]} resumed"
        print(
            f"{name:<32} killed after {', '.join(map(str, steps)):<16} last from {resumed[2]:>2}: {verdict}", flush=True
        )
        number += 1
    return {
        "runs": len(runs),
        "kills": kills,
        "equal_hashes": equal,
        "equal_losses": losses_equal,
        "finished_before_a_kill": finished_when_killed,
        "seed": seed,
        "each": runs,
    }


# ---------------------------------------------------------------- small real parts


def prepare(folder: Path) -> None:
    """Data of a few dozen rows and bases of a few thousand weights, in a process of its own: it computes."""
    import pandas as pd
    import torch
    import transformers

    from components.data import tables
    from components.models.tokenizer import train_bpe
    from components.tasks import get_task

    torch.set_num_threads(1)
    rows = []
    for i in range(48):
        label = sorted(WORDS)[i % 3]
        text = f"{WORDS[label]} number {i}"
        rows.append({"id": tables.content_id(text), "text": text, "label": label, "target": f"It does {label}."})
    frame = pd.DataFrame(rows).assign(source="x", licence="Apache-2.0", group="g", origin="provenance", imputed="")
    for table, task in (("topics", "classification"), ("lines", "summarisation")):
        for split, part in (("train", frame[:36]), ("test", frame[36:])):
            tables.write_split(folder / "data", table, split, part, task=task)
        labels = sorted(WORDS) if task == "classification" else []
        tables.write_table_info(folder / "data", table, task=task, labels=labels, licences={"x": "Apache-2.0"})
    for task in ("entities", "question_answering", "regression"):
        marked = [marks(task, text, i) for i, text in enumerate(frame["text"])]
        own = frame.assign(**dict(zip(get_task(task).columns, zip(*marked, strict=True), strict=True)))
        own["id"] = own["text"].map(tables.content_id)
        for split, part in (("train", own[:36]), ("test", own[36:])):
            tables.write_split(folder / "data", task, split, part, task=task)
        labels = get_task(task).labels([target for _, target in marked])
        tables.write_table_info(folder / "data", task, task=task, labels=labels, licences={"x": "Apache-2.0"})
    text = "\n".join(f"def f{i}(x):\n    return x + {i}  # {' '.join(WORDS.values())}" for i in range(60))
    corpus = pd.DataFrame({"text": [text, text[::-1]], "source": "x", "licence": "Apache-2.0", "group": "g"})
    corpus["id"] = corpus["text"].map(tables.content_id)
    tables.write_split(folder / "data", "corpus", "train", corpus, task="corpus")
    tables.write_split(folder / "data", "corpus", "heldout", corpus.head(1), task="corpus")
    tables.write_table_info(folder / "data", "corpus", task="corpus", labels=[], licences={"x": "Apache-2.0"})
    tokenizer = train_bpe(WORDS.values(), 300)
    size = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    bert = transformers.BertModel(transformers.BertConfig(**size, intermediate_size=32, max_position_embeddings=64))
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**size, num_key_value_heads=2, intermediate_size=32, tie_word_embeddings=True)
    )
    for name, model in (("minilm", bert), ("smollm2", llama.to(torch.bfloat16))):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "ready").touch()


def marks(task: str, text: str, number: int) -> tuple[str, str]:
    """A row's text and target: the number's place is what is marked or asked for, and the number what it is worth."""
    from components.tasks import get_task

    if task == "regression":
        return text, str(float(number % 7))
    if task == "question_answering":
        text = f"Which number?\n{text}"
        return text, get_task(task).fit(text, f"number {number}")
    found = [{"text": f"number {number}", "type": "number"}, {"text": text.split()[0], "type": "thing"}]
    return text, get_task(task).fit(text, json.dumps(found))


def main() -> None:
    num_kills = int(os.environ.get("KILLS", "100"))
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**31))
    print(f"{num_kills} kills, seed {seed}: repeat with SEED={seed} KILLS={num_kills}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="banyan-kills-") as folder:
        counted = campaign(num_kills, seed, Path(folder))
    result = {
        "benchmark": "kill_resume",
        **counted,
        "seconds": round(time.monotonic() - started, 1),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    print(json.dumps(result))
    sys.exit(counted["equal_hashes"] != counted["runs"])


if __name__ == "__main__":
    main()
