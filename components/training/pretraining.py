"""Pretraining: a tokenizer and a language model from nothing but text."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components.data import packing, tables
from components.errors import DataError, MappingError
from components.models.characters import character_bytes, character_tokenizer
from components.models.families import FAMILIES
from components.models.tokenizer import is_byte_level, token_bytes, train_bpe
from components.recipes import Pretrain
from components.training import distributed, heldout, result
from components.training import lock as locks
from components.training.device import attention, exact, resolve
from components.training.distributed import ALONE, World
from components.training.loop import fit
from components.training.objectives import Rows, evenly, objective_loss, objective_of, rows_of
from components.training.result import Evaluation, Progress, Trained
from components.training.seeds import derive, generator

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MAX_HELDOUT_ROWS = 256
"""Evenly spaced over the held-out text: one look costs about a second."""


def take_lock(recipe: Pretrain, *, data_dir: Path, parallel: str = "") -> locks.Lock:
    """The lock of a pretraining that has not begun."""
    if recipe.packed is not None:
        info = packing.read_info(recipe.packed)
        table = {packing.PREFIX + info.name: info.sha256()}
        recipe = recipe.model_copy(update={"packed": Path(info.name)})  # where it lies changes no weight
    else:
        table = {recipe.table: tables.table_sha256(data_dir, recipe.table)}
    return locks.take(recipe, tables=table, module=__name__, parallel=parallel)


def pretrain(
    recipe: Pretrain,
    *,
    data_dir: Path,
    run_dir: Path,
    on_step: Callable[[Progress], None] | None = None,
    on_evaluate: Callable[[Evaluation], None] | None = None,
    world: World = ALONE,
) -> Trained:
    """Train a tokenizer and the recipe's family on a corpus; the model is `run_dir/model`, a Hugging Face folder.

    Called again after a kill, it goes on at the last checkpoint; called again when done, it returns what is there.
    Metrics: heldout_loss (nats a target), its 95 % interval heldout_loss_low and heldout_loss_high, and baseline_loss,
    that of a model that counts tokens; of `causal` and `prefix` bits_per_byte, comparable between tokenizers and
    families; of `continuation` heldout_accuracy.

    Args:
        world: the workers that train together; each calls this, and they see the same files.

    Raises:
        RecipeError: the workers cannot train by the recipe.
        MappingError: the table is not there, or is no corpus.
        DataError: the corpus is shorter than one row of `max_length_tokens`.
        NonFiniteLoss, CheckpointError: as `loop.fit`.
    """
    import torch

    if recipe.packed is None and (task := tables.table_info(data_dir, recipe.table).task) != "corpus":
        raise MappingError(f"table {recipe.table!r} is of task {task}, not a corpus", "name a corpus in the recipe")
    distributed.check(recipe, world)
    lock = take_lock(recipe, data_dir=data_dir, parallel=world.name)
    distributed.agree(world, "lock", lock.exact_key)
    if done := result.load(run_dir, lock):
        return done
    family, objective = FAMILIES[recipe.family], objective_of(recipe)
    has_characters = recipe.tokenizer == "characters"
    tokenizer, train, held = _corpus(recipe, data_dir)
    tokenizer.model_max_length = recipe.max_length_tokens
    fewest = 2 if objective == "continuation" else 1  # another row, whose text does not follow
    for short, found in (("train", train), ("heldout", held)):
        if len(found) < fewest:
            raise DataError(
                f"split {short} of {recipe.packed or recipe.table} is shorter than "
                f"{fewest * recipe.max_length_tokens + 1} tokens",
                "ingest more text, or lower max_length_tokens",
            )
    train, held = evenly(train, recipe.max_train_rows), evenly(held, MAX_HELDOUT_ROWS).long()
    with torch.random.fork_rng():
        torch.manual_seed(derive(recipe.seed, "new weights"))
        model = family.build(recipe, len(tokenizer))
    if family.name in {"gpt", "gpt2", "transformer", "bert"}:
        model.set_attn_implementation(attention(resolve(recipe.device)))
    model.config.pad_token_id = model.config.eos_token_id = model.config.bos_token_id = tokenizer.eos_token_id
    if model.config.is_encoder_decoder:
        model.config.decoder_start_token_id = tokenizer.eos_token_id
    rows, unseen = Rows(train, tokenizer, recipe), Rows(held, tokenizer, recipe)
    sizes = (character_bytes if has_characters else token_bytes)(tokenizer)
    size_bytes = torch.tensor(sizes)[held[:, 1:]].sum().item()
    metrics: dict[str, float] = {}
    sample = ""
    last: heldout.Look | None = None

    def measure(parts: int) -> None:
        nonlocal sample, last
        last = heldout.look(model, unseen, recipe, parts=parts)
        metrics["heldout_loss"] = last.loss
        if objective in {"causal", "prefix"} and (has_characters or is_byte_level(tokenizer)):
            metrics["bits_per_byte"] = last.nats / math.log(2) / size_bytes
        if objective == "continuation":  # it judges and does not write
            metrics["heldout_accuracy"] = last.num_right / last.num_targets
        else:
            sample = continue_text(
                model, tokenizer, recipe.sample_prompt, num_tokens=recipe.sample_tokens, seed=recipe.seed
            )

    def evaluate(step: int, parts: int) -> float:
        measure(parts)
        if on_evaluate:
            on_evaluate(Evaluation(step, dict(metrics), sample))
        return metrics["heldout_loss"]

    whole = distributed.spread(model, recipe, world=world)
    fitted = fit(
        model,
        recipe,
        micro_batches=rows.micro_batches,
        loss=partial(objective_loss, label_smoothing=recipe.label_smoothing),
        num_steps=recipe.steps_over(len(train)),
        folder=run_dir / "checkpoints",
        key=lock.exact_key,
        names=rows.names,
        on_step=on_step,
        evaluate=evaluate,
        evaluate_every_steps=recipe.evaluate_every_steps,
        world=world,
        elastic_key=lock.elastic_key,
    )
    if recipe.patience_evaluations:  # the weights that are kept are not those that were looked at last
        measure(fitted.last_parts)
    if last is not None:
        metrics["heldout_loss_low"], metrics["heldout_loss_high"] = heldout.interval(last, seed=recipe.seed)
    metrics["baseline_loss"] = heldout.baseline(train, unseen, vocab_size=len(tokenizer))
    metrics |= {"train_loss": fitted.last_loss, "num_rows": float(len(train))}
    known = {"lock": lock, "fitted": fitted, "metrics": metrics, "sample": sample}
    return result.save(run_dir, whole(), tokenizer, world=world, **known)  # type: ignore[arg-type]


def _corpus(recipe: Pretrain, data_dir: Path) -> "tuple[PreTrainedTokenizerFast, Tensor, Tensor]":
    """The tokenizer, and the rows (n, T + 1) to train on and to be measured by."""
    length = recipe.max_length_tokens
    if recipe.packed is not None:
        tokenizer = packing.tokenizer_of(recipe.packed)
        if objective_of(recipe) == "masked" and tokenizer.mask_token_id is None:
            raise MappingError(f"the tokenizer of {recipe.packed} has no mask token", "pack it with one that has")
        train, held = (packing.rows(recipe.packed, split, length) for split in packing.SPLITS)
        return tokenizer, train, held
    texts = {split: list(tables.read_split(data_dir, recipe.table, split)["text"]) for split in ("train", "heldout")}
    make = character_tokenizer if recipe.tokenizer == "characters" else train_bpe
    tokenizer = make(texts["train"], recipe.vocab_size)
    return tokenizer, rows_of(texts["train"], tokenizer, length), rows_of(texts["heldout"], tokenizer, length)


def continue_text(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", prompt: str, *, num_tokens: int, seed: int
) -> str:
    """`prompt` and up to `num_tokens` more, drawn at temperature 0.8 from the 40 likeliest; the same for the same seed.

    A masked family fills one mask after another at the end; an encoder–decoder reads the prompt and writes the rest.
    """
    import torch

    masked = type(model).__name__.endswith("ForMaskedLM")
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    draw = generator(seed, "sample")
    longest = int(tokenizer.model_max_length) - masked
    read, written = ids[-max(1, longest // 2) :], [int(tokenizer.eos_token_id)]
    with exact(), torch.inference_mode():
        for _ in range(num_tokens):
            if model.config.is_encoder_decoder:
                inputs = {"input_ids": read, "decoder_input_ids": written[-longest:]}
            else:
                inputs = {"input_ids": ids[-longest:] + [tokenizer.mask_token_id] * masked}
            tensors = {name: torch.tensor([row], device=model.device) for name, row in inputs.items()}
            logits = model(**tensors).logits[0, -1].float().cpu()
            likeliest = logits.topk(min(40, len(logits)))
            chosen = torch.multinomial((likeliest.values / 0.8).softmax(-1), 1, generator=draw)
            ids.append(int(likeliest.indices[chosen]))
            written.append(ids[-1])
            if ids[-1] == tokenizer.eos_token_id:
                break
    return str(tokenizer.decode(ids, skip_special_tokens=True))
