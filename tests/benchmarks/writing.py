"""Translation, generation and code: a small training beside the plain baseline, on the same held-out rows.

`make bench NAME=writing` measures the baselines and what is trained in about a minute of CPU each; `python -m
tests.benchmarks.writing code` only that one, `--baselines` none of the trainings. The last line is one JSON object.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from components import assets
from components.data.build import build
from components.data.tables import read_split
from components.evaluation.evaluate import evaluate, evaluate_baseline
from components.evaluation.metrics import interval, summarise
from components.recipes import load_recipe
from components.settings import load_settings
from components.tasks import get_task
from components.training.finetuning import finetune

RECIPES = Path(__file__).parents[2] / "flows/recipes"
SMALL = {
    "translation": {
        "adaptation": "full", "lora_rank": None, "precision": "fp32", "batch_size": 16, "num_steps": 120,
        "learning_rate": 2e-3, "max_new_tokens": 40, "max_test_rows": 100,
    },
    "generation": {"num_steps": 12, "batch_size": 4, "max_new_tokens": 24, "max_test_rows": 60},
    "code": {
        "num_steps": 8, "num_epochs": None, "batch_size": 2, "max_length_tokens": 320, "max_new_tokens": 80,
        "max_test_rows": 24,
    },
}  # fmt: skip


def encoder_decoder(folder: Path, texts: list[str]) -> Path:
    """A base from scratch: fresh weights (3 + 3 layers, 192 wide) and a tokenizer of the training pairs."""
    import torch

    from components.models.tokenizer import train_bpe
    from components.models.transformer import TransformerConfig, TransformerForConditionalGeneration

    tokenizer = train_bpe(texts, 4000)
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    config = TransformerConfig(
        vocab_size=len(tokenizer), d_model=192, num_heads=4, num_layers=3, feedforward_size=768, dropout=0.1,
        max_position_embeddings=512, pad_token_id=end, eos_token_id=end, bos_token_id=end, decoder_start_token_id=end,
    )  # fmt: skip
    TransformerForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measured(name: str, folder: Path, *, train: bool) -> dict[str, object]:
    """Baseline and model: metric → [value, low, high], intervals by bootstrap over rows."""
    settings, task = load_settings(), get_task(name)
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    recipe = type(recipe).model_validate(recipe.model_dump() | SMALL[name])
    data = build(load_recipe(RECIPES / f"{name}-data.yaml"), settings=settings).staging_dir

    def figures(rows):
        found, spans = summarise(rows, task), interval(rows, task, num_resamples=200)
        return {key: [round(v, 4) for v in (found[key], *spans[key])] for key in spans if key in found}

    said: dict[str, object] = {
        "baseline": figures(evaluate_baseline(recipe, data_dir=data)),
        "baseline is": task.baseline_name,
    }
    print(name, said, flush=True)
    if train:
        if name == "translation":
            pairs = read_split(data, name, "train")
            both = [f"{a}{task.template}{b}" for a, b in zip(pairs["text"], pairs["target"], strict=True)]
            weights = encoder_decoder(folder / "base", both)
        else:
            weights = assets.weights(recipe.base, settings=settings)
        started = time.process_time()
        done = finetune(recipe, data_dir=data, weights_dir=weights, run_dir=folder / name)
        said |= {"train_cpu_seconds": round(time.process_time() - started), "num_steps": recipe.num_steps}
        rows = evaluate(done.model_dir, task=name, data_dir=data, table=name, max_rows=recipe.max_test_rows)
        said["model"] = figures(rows)
    print(name, said, flush=True)
    return said


def main() -> None:
    chosen = [name for name in sys.argv[1:] if name in SMALL] or list(SMALL)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measured(name, Path(folder), train="--baselines" not in sys.argv) for name in chosen}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
