"""What the project promises of training: resumed = uninterrupted, same seed = same hash, 1 × 8 = 8 × 1."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.recipes import Finetune, Pretrain
from components.training.finetuning import finetune
from components.training.pretraining import pretrain

HERE = Path(__file__).parent


class Killed(Exception):
    """Stands for a kill: nothing of the loop runs after it."""


def stop_after(step):
    def on_step(progress):
        if progress.step == step:
            raise Killed

    return on_step


@pytest.fixture
def trainings(small_data, small_bert, small_llama, classify, write_lines, read_corpus):
    """Name → a training as a function of run_dir and callbacks. Dropout is on in all but `lora`."""

    def tuned(recipe, weights):
        return lambda run_dir, **calls: finetune(
            recipe, data_dir=small_data, weights_dir=weights, run_dir=run_dir, **calls
        )

    def pretrained(**fields):
        recipe = read_corpus.model_copy(update={"dropout": 0.2, **fields})
        return lambda run_dir, **calls: pretrain(recipe, data_dir=small_data, run_dir=run_dir, **calls)

    return {
        "full": tuned(classify, small_bert),
        "lora": tuned(write_lines, small_llama),
        "muon": tuned(classify.model_copy(update={"optimizer": "muon"}), small_bert),
        "sgd, accumulated": tuned(
            classify.model_copy(update={"optimizer": "sgd", "num_accumulation_steps": 3}), small_bert
        ),
        "gpt": pretrained(optimizer="muon"),
        "lstm": pretrained(family="lstm", num_heads=None, num_layers=2),
        "bert": pretrained(family="bert"),
        "feedforward, adam, l1": pretrained(
            family="feedforward", num_heads=None, context_tokens=3, optimizer="adam", l1=1e-3
        ),
        "ngram_gpt, characters, muon": pretrained(
            family="ngram_gpt", tokenizer="characters", context_tokens=3, optimizer="muon", table_learning_rate=0.01
        ),
        "rnn, momentum": pretrained(family="rnn", num_heads=None, optimizer="sgd", momentum=0.9),
        "gru, wsd": pretrained(family="gru", num_heads=None, schedule="wsd", decay_share=0.4, num_accumulation_steps=2),
        "gpt2, document masks": pretrained(family="gpt2", document_masks=True, label_smoothing=0.1),
        "gpt, grouped, ema": pretrained(num_kv_heads=1, averaging="ema", ema_decay=0.9, gradient_checkpointing=True),
        "transformer, swa": pretrained(family="transformer", averaging="swa", swa_share=0.7),
        "continuation, cosine": pretrained(
            family="transformer", objective="continuation", schedule="cosine", gradient_checkpointing=True
        ),
        "full, smoothed, patience": tuned(
            classify.model_copy(
                update={
                    "label_smoothing": 0.1,
                    "validation_share": 0.3,
                    "evaluate_every_steps": 1,
                    "patience_evaluations": 5,
                    "averaging": "ema",
                    "ema_decay": 0.8,
                }
            ),
            small_bert,
        ),
    }


NAMES = [
    "full",
    "lora",
    "muon",
    "sgd, accumulated",
    "gpt",
    "lstm",
    "bert",
    "feedforward, adam, l1",
    "ngram_gpt, characters, muon",
    "rnn, momentum",
    "gru, wsd",
    "gpt2, document masks",
    "gpt, grouped, ema",
    "transformer, swa",
    "continuation, cosine",
    "full, smoothed, patience",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(name, trainings, tmp_path):
    train = trainings[name]
    whole = train(tmp_path / "whole")
    for step in (1, 3, 5):  # before the first checkpoint (2), after it, after the second
        with pytest.raises(Killed):
            train(tmp_path / "cut", on_step=stop_after(step))
    resumed = train(tmp_path / "cut")
    assert resumed.resumed_from == 4
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.seconds > 0
    assert resumed.num_tokens == whole.num_tokens > 0
    assert resumed.flops == whole.flops > 0 and resumed.flops_per_second > 0


@pytest.fixture
def soon_over(classify, small_data, small_bert):
    """A training that patience stops at a step that is no checkpoint's."""
    update = {"learning_rate": 0.1, "schedule": "constant", "seed": 1, "validation_share": 0.4, "num_steps": 40}
    recipe = classify.model_copy(
        update=update | {"evaluate_every_steps": 2, "patience_evaluations": 2, "checkpoint_every_steps": 3}
    )
    return lambda run_dir, **calls: finetune(
        recipe, data_dir=small_data, weights_dir=small_bert, run_dir=run_dir, **calls
    )


def test_a_training_that_stops_early_stops_at_the_same_step_when_it_was_resumed(soon_over, tmp_path):
    """What it has seen of the held-out loss, and the best weights, come from the checkpoint."""
    whole = soon_over(tmp_path / "whole")
    assert whole.num_steps < 40
    for step in range(4, whole.num_steps + 1, 3):  # a kill after every checkpoint
        with pytest.raises(Killed):
            soon_over(tmp_path / "cut", on_step=stop_after(step))
    resumed = soon_over(tmp_path / "cut")
    assert resumed.resumed_from > 0
    assert (resumed.num_steps, resumed.weights_sha256) == (whole.num_steps, whole.weights_sha256)
    assert resumed.metrics["heldout_loss"] == whole.metrics["heldout_loss"]


@pytest.mark.parametrize("name", ["full", "gpt"])
def test_the_same_seed_gives_the_same_hash_whatever_was_drawn_before(name, trainings, tmp_path):
    first = trainings[name](tmp_path / "first")
    torch.manual_seed(123)
    torch.rand(1000)
    assert trainings[name](tmp_path / "second").weights_sha256 == first.weights_sha256


def test_a_training_leaves_the_callers_random_state_alone(trainings, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trainings["full"](tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_training_killed_by_sigkill_resumes_to_the_same_bits(classify, small_data, small_bert, tmp_path):
    paths = [str(path) for path in (small_data, small_bert, tmp_path / "cut")]
    code = [sys.executable, str(HERE / "killed_training.py"), json.dumps(classify.model_dump()), *paths, "5"]
    assert subprocess.run(code, cwd=HERE.parents[1], capture_output=True).returncode == -signal.SIGKILL
    assert not (tmp_path / "cut/model").exists()
    arguments = {"data_dir": small_data, "weights_dir": small_bert}
    resumed = finetune(classify, run_dir=tmp_path / "cut", **arguments)
    assert resumed.resumed_from == 4
    assert resumed.weights_sha256 == finetune(classify, run_dir=tmp_path / "whole", **arguments).weights_sha256


def test_a_torn_last_checkpoint_costs_steps_and_no_bits(trainings, tmp_path):
    whole = trainings["full"](tmp_path / "whole")
    with pytest.raises(Killed):
        trainings["full"](tmp_path / "cut", on_step=stop_after(5))
    torn = tmp_path / "cut/checkpoints/step-00000004/optimizer-0.safetensors"
    torn.write_bytes(torn.read_bytes()[:-8])
    resumed = trainings["full"](tmp_path / "cut")
    assert resumed.resumed_from == 2
    assert resumed.weights_sha256 == whole.weights_sha256


def test_another_recipe_does_not_resume_from_these_checkpoints(classify, small_data, small_bert, tmp_path):
    arguments = {"data_dir": small_data, "weights_dir": small_bert, "run_dir": tmp_path}
    with pytest.raises(Killed):
        finetune(classify, on_step=stop_after(5), **arguments)
    other = classify.model_copy(update={"seed": 9})
    assert finetune(other, **arguments).resumed_from == 0


def test_where_the_weights_lie_in_their_file_changes_no_bit(classify, small_data, small_bert, tmp_path):
    """A header of another length moves every tensor in memory, and with it how products are rounded."""
    hashes = set()
    for header in ("", "12345678", "1234567890123456"):
        base = tmp_path / f"base{len(header)}"
        shutil.copytree(small_bert, base)
        tensors = load_file(base / "model.safetensors")
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt", "note": header})
        done = finetune(classify, data_dir=small_data, weights_dir=base, run_dir=tmp_path / f"run{len(header)}")
        hashes.add(done.weights_sha256)
    assert len(hashes) == 1


@pytest.mark.parametrize("kind", ["finetune", "pretrain", "lora", "prefix", "continuation", "masks"])
def test_eight_rows_at_once_are_eight_times_one_row(
    kind, classify, write_lines, read_corpus, small_data, small_bert, small_llama, tmp_path, monkeypatch
):
    """In fp32 and without dropout, up to the order of additions. Rows have different numbers of targets."""
    from components.models import pretrained

    ordinary = pretrained.read

    def without_dropout(*args, **options):
        model = ordinary(*args, **options).float()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    monkeypatch.setattr(pretrained, "read", without_dropout)
    other = {"family": "transformer", "objective": kind} if kind in {"prefix", "continuation"} else {}
    masks = {"document_masks": kind == "masks", "label_smoothing": 0.1, "l1": 1e-3}
    recipe: Finetune | Pretrain = {"finetune": classify, "lora": write_lines}.get(
        kind, read_corpus.model_copy(update=other | masks)
    )
    found = []
    for size, times in ((8, 1), (1, 8)):
        sized = recipe.model_copy(
            update={
                "batch_size": size,
                "num_accumulation_steps": times,
                "precision": "fp32",
                "optimizer": "sgd",
                "max_gradient_norm": 1.0,
            }
        )
        run_dir = tmp_path / f"{size}x{times}"
        if isinstance(sized, Pretrain):
            done = pretrain(sized, data_dir=small_data, run_dir=run_dir)
        else:
            weights = small_bert if kind == "finetune" else small_llama
            done = finetune(sized, data_dir=small_data, weights_dir=weights, run_dir=run_dir)
        found.append(load_file(done.model_dir / "model.safetensors"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_is_exact_on_a_gpu_too(name, trainings, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(name, trainings, tmp_path)
