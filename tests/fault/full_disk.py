"""A training on a disk that is full at its third save and at its end: `python full_disk.py FOLDER limit|fill`."""

import json
import resource
import signal
import sys
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from components.errors import CheckpointError
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain
from components.training import checkpoint, loop, result
from components.training.lock import Lock

RECIPE = Pretrain(
    name="full disk", num_steps=10, learning_rate=0.01, checkpoint_every_steps=2, optimizer="adamw", precision="fp32"
)
LOCK = Lock({}, "r", "", "c", 0, {}, 1, "cpu", "isa", "", "")


class Disk:
    """The folder's disk; full when told so."""

    def __init__(self, folder: Path, how: str) -> None:
        self.ballast, self.how = folder / "ballast", how

    def fill(self) -> None:
        if self.how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            return
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.ballast.unlink(missing_ok=True)


def train(run_dir: Path, on_step=None):
    tokenizer = train_bpe(["a few words"], 300)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=300, **size))

    def micro_batches(step):
        ids = torch.randint(300, (2, 8), generator=torch.Generator().manual_seed(step))
        return [{"input_ids": ids, "labels": ids}]

    def loss(model, batch):
        logits = model(input_ids=batch["input_ids"]).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum"), (
            torch.tensor(batch["labels"].numel())
        )

    fitted = loop.fit(
        model,
        RECIPE,
        micro_batches=micro_batches,
        loss=loss,
        num_steps=10,
        folder=run_dir / "checkpoints",
        key=LOCK.exact_key,
        on_step=on_step,
    )
    return fitted, lambda: result.save(run_dir, model, tokenizer, lock=LOCK, fitted=fitted, metrics={})


def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Python does so itself; said here because the test hangs on it
    torch.set_num_threads(1)
    disk, run_dir, found = Disk(folder, how), folder / "run", {}
    real_save = checkpoint.save

    def save(*args, **given):
        path = real_save(*args, **given)
        if given["step"] == 6 and "saved_while_full" not in found:  # the trainings after this one save, too
            found["saved_while_full"] = path and path.name
            found["left_while_full"] = sorted(entry.name for entry in args[0].iterdir())
        if given["step"] == 8:
            found.setdefault("saved_afterwards", path.name)
        return path

    checkpoint.save = save

    def on_step(progress):
        if progress.step == 5:
            disk.fill()
        if progress.step == 7:
            disk.free()

    fitted, finish = train(run_dir, on_step)
    found["num_steps"] = len(fitted.losses)
    disk.fill()
    try:
        finish()
    except CheckpointError as err:
        found["model_refused"] = "run it again" in err.remedy
    disk.free()
    again, finish = train(run_dir)
    found |= {"resumed_from": again.resumed_from, "weights_sha256": finish().weights_sha256}
    with tempfile.TemporaryDirectory() as elsewhere:
        found["undisturbed_sha256"] = train(Path(elsewhere))[1]().weights_sha256
    print(json.dumps(found))


if __name__ == "__main__":
    main()
