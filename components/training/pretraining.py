"""Pretraining: a tokenizer and a language model from nothing but text."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.data import tables
from components.errors import DataError, MappingError
from components.models.families import FAMILIES
from components.models.tokenizer import token_bytes, train_bpe
from components.recipes import Pretrain
from components.tasks.base import IGNORED
from components.training import lock as locks
from components.training import result
from components.training.device import attention, exact, resolve
from components.training.loop import Batch, fit
from components.training.result import Evaluation, Progress, Trained
from components.training.seeds import RowOrder, derive, generator

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MAX_HELDOUT_ROWS = 256
"""Evenly spaced over the held-out text: one look costs about a second."""
MASKED_SHARE = 0.15


def take_lock(recipe: Pretrain, *, data_dir: Path) -> locks.Lock:
    """The lock of a pretraining that has not begun."""
    table = {recipe.table: tables.table_sha256(data_dir, recipe.table)}
    return locks.take(recipe, tables=table, module=f"{__name__},components.models.recurrent")


def pretrain(
    recipe: Pretrain,
    *,
    data_dir: Path,
    run_dir: Path,
    on_step: Callable[[Progress], None] | None = None,
    on_evaluate: Callable[[Evaluation], None] | None = None,
) -> Trained:
    """Train a tokenizer and the recipe's family on a corpus; the model is `run_dir/model`, a Hugging Face folder.

    Called again after a kill, it goes on at the last checkpoint; called again when done, it returns what is there.
    Metrics: heldout_loss (nats a token) and, of causal families, bits_per_byte (comparable between tokenizers).

    Raises:
        MappingError: the table is not there, or is no corpus.
        DataError: the corpus is shorter than one row of `max_length_tokens`.
        NonFiniteLoss, CheckpointError: as `loop.fit`.
    """
    import torch

    info = tables.table_info(data_dir, recipe.table)
    if info.task != "corpus":
        raise MappingError(
            f"table {recipe.table!r} is of task {info.task}, not a corpus", "name a corpus in the recipe"
        )
    lock = take_lock(recipe, data_dir=data_dir)
    if done := result.load(run_dir, lock):
        return done
    family = FAMILIES[recipe.family]
    texts = {split: list(tables.read_split(data_dir, recipe.table, split)["text"]) for split in ("train", "heldout")}
    tokenizer = train_bpe(texts["train"], recipe.vocab_size)
    tokenizer.model_max_length = recipe.max_length_tokens
    train = rows_of(texts["train"], tokenizer, recipe.max_length_tokens)
    heldout = rows_of(texts["heldout"], tokenizer, recipe.max_length_tokens)
    if not len(train) or not len(heldout):
        short = "train" if not len(train) else "heldout"
        raise DataError(
            f"split {short} of {recipe.table!r} is shorter than {recipe.max_length_tokens + 1} tokens",
            "ingest more text, or lower max_length_tokens",
        )
    heldout = heldout[torch.linspace(0, len(heldout) - 1, min(MAX_HELDOUT_ROWS, len(heldout))).long()]
    with torch.random.fork_rng():
        torch.manual_seed(derive(recipe.seed, "new weights"))
        model = family.build(recipe, len(tokenizer))
    if family.name in {"gpt", "bert"}:
        model.set_attn_implementation(attention(resolve(recipe.device)))
    model.config.pad_token_id = model.config.eos_token_id = model.config.bos_token_id = tokenizer.eos_token_id
    rows = Rows(train, family.objective, tokenizer, recipe)
    unseen = Rows(heldout, family.objective, tokenizer, recipe)
    size_bytes = torch.tensor(token_bytes(tokenizer))[heldout[:, 1:]].sum().item()
    metrics: dict[str, float] = {}
    sample = ""

    def evaluate(step: int) -> None:
        nonlocal sample
        total, count = _heldout_loss(model, unseen, recipe)
        metrics["heldout_loss"] = total / count
        if family.objective == "causal":
            metrics["bits_per_byte"] = total / math.log(2) / size_bytes
        sample = continue_text(
            model, tokenizer, recipe.sample_prompt, num_tokens=recipe.sample_tokens, seed=recipe.seed
        )
        if on_evaluate:
            on_evaluate(Evaluation(step, dict(metrics), sample))

    fitted = fit(
        model,
        recipe,
        micro_batches=rows.micro_batches,
        loss=token_loss,
        num_steps=recipe.steps_over(len(train)),
        folder=run_dir / "checkpoints",
        key=lock.exact_key,
        on_step=on_step,
        evaluate=evaluate,
        evaluate_every_steps=recipe.evaluate_every_steps,
    )
    metrics |= {"train_loss": fitted.last_loss, "num_rows": float(len(train))}
    return result.save(run_dir, model, tokenizer, lock=lock, fitted=fitted, metrics=metrics, sample=sample)


def rows_of(texts: list[str], tokenizer: "PreTrainedTokenizerFast", length: int) -> "Tensor":
    """All texts as one stream, each closed by the end token, cut into rows (n, length + 1) that share one token.

    The last, shorter row is left out.
    """
    import torch

    end = tokenizer.eos_token_id
    stream: list[int] = []
    for ids in tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]:
        stream += ids
        stream.append(end)
    tokens = torch.tensor(stream)
    return tokens.unfold(0, length + 1, length) if len(tokens) > length else tokens.new_empty((0, length + 1))


@dataclass(frozen=True)
class Rows:
    """Token rows (n, T + 1) as batches of a training."""

    tokens: "Tensor"
    objective: str
    tokenizer: "PreTrainedTokenizerFast"
    recipe: Pretrain

    def __post_init__(self) -> None:
        many = self.recipe.batch_size * self.recipe.num_accumulation_steps
        object.__setattr__(
            self, "_order", RowOrder(num_rows=len(self.tokens), rows_per_step=many, seed=self.recipe.seed)
        )

    def micro_batches(self, step: int) -> list[Batch]:
        order: RowOrder = self._order  # type: ignore[attr-defined]
        return self.batches(self.tokens[order.rows(step)], "mask", step)

    def batches(self, rows: "Tensor", *purpose: str | int) -> list[Batch]:
        """input_ids and labels, both (B, T): the next token of each, or the hidden ones and IGNORED elsewhere."""
        if self.objective == "causal":
            inputs, labels = rows[:, :-1], rows[:, 1:]
        else:
            inputs, labels = self._hide(rows[:, :-1], *purpose)
        size = self.recipe.batch_size
        return [{"input_ids": inputs[i : i + size], "labels": labels[i : i + size]} for i in range(0, len(rows), size)]

    def _hide(self, rows: "Tensor", *purpose: str | int) -> "tuple[Tensor, Tensor]":
        """Of 15 % of the tokens 80 % become the mask, 10 % another token, 10 % stay (Devlin et al. 2018, §3.1)."""
        import torch

        draw = generator(self.recipe.seed, *purpose)
        hidden = torch.rand(rows.shape, generator=draw) < MASKED_SHARE
        hidden[:, 0] |= ~hidden.any(1)  # a row without targets would teach nothing
        how = torch.rand(rows.shape, generator=draw)
        other = torch.randint(len(self.tokenizer), rows.shape, generator=draw)
        seen = rows.masked_fill(hidden & (how < 0.8), int(self.tokenizer.mask_token_id))
        seen = torch.where(hidden & (how >= 0.9), other, seen)
        return seen, rows.masked_fill(~hidden, IGNORED)


def token_loss(model: "PreTrainedModel", batch: Batch) -> "tuple[Tensor, Tensor]":
    """Sum of cross-entropies in nats, and over how many tokens."""
    import torch

    logits = model(input_ids=batch["input_ids"]).logits  # (B, T, V)
    labels = batch["labels"].reshape(-1)
    summed = torch.nn.functional.cross_entropy(
        logits.float().reshape(len(labels), -1), labels, reduction="sum", ignore_index=IGNORED
    )
    return summed, (labels != IGNORED).sum()


def _heldout_loss(model: "PreTrainedModel", rows: Rows, recipe: Pretrain) -> tuple[float, int]:
    """Sum in nats, and tokens, in the precision of training."""
    import torch

    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in rows.batches(rows.tokens, "heldout mask"):
            moved = {name: t.to(model.device) for name, t in batch.items()}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                summed, targets = token_loss(model, moved)
            total, count = total + summed.item(), count + int(targets)
    return total, count


def continue_text(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", prompt: str, *, num_tokens: int, seed: int
) -> str:
    """`prompt` and up to `num_tokens` more, drawn at temperature 0.8 from the 40 likeliest; the same for the same seed.

    A masked family fills one mask after another at the end.
    """
    import torch

    masked = type(model).__name__.endswith("ForMaskedLM")
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    draw = generator(seed, "sample")
    longest = int(tokenizer.model_max_length) - masked
    with exact(), torch.inference_mode():
        for _ in range(num_tokens):
            seen = ids[-longest:] + [tokenizer.mask_token_id] * masked
            logits = model(input_ids=torch.tensor([seen], device=model.device)).logits[0, -1].float().cpu()
            likeliest = logits.topk(min(40, len(logits)))
            chosen = torch.multinomial((likeliest.values / 0.8).softmax(-1), 1, generator=draw)
            ids.append(int(likeliest.indices[chosen]))
            if ids[-1] == tokenizer.eos_token_id:
                break
    return str(tokenizer.decode(ids, skip_special_tokens=True))
