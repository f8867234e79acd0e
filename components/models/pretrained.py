"""Pretrained weights: a base with the head a task needs, adapters, and what training leaves behind."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import InputFileError, RecipeError
from components.models import adapters
from components.recipes import Finetune
from components.tasks.base import Head, Task
from components.training.device import attention, resolve
from components.training.seeds import derive

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_base(
    weights_dir: Path, *, task: Task, labels: Sequence[str], recipe: Finetune, seed: int | None = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The base with the task's head, ready to train. What is new (head, adapters) is drawn from `seed`, or from
    the recipe's.

    The model's folder later carries all that answering needs, so that serving cannot differ from training: labels
    in `config.json`, the longest input in the tokenizer, the longest answer in `generation_config.json`.

    Full fine-tuning is of fp32 weights. LoRA (Hu et al. 2021, arXiv 2106.09685; on every linear map, alpha = 2 r)
    leaves the base as it is stored, or with `precision: fp32` makes it fp32, and trains fp32 adapters.

    Raises:
        InputFileError: no model or tokenizer that can be read in `weights_dir`, or they do not belong together.
        RecipeError: the recipe's texts are longer than the base can take, or the base has no dropout to set.
    """
    import torch
    import transformers

    as_stored = recipe.adaptation == "lora" and recipe.precision == "bf16"
    options: dict[str, Any] = {
        "dtype": "auto" if as_stored else torch.float32,
        "attn_implementation": attention(resolve(recipe.device)),
    }
    if task.head in ("classifier", "tagger"):
        names = dict(enumerate(task.outputs(labels)))
        options |= {"num_labels": len(names), "id2label": names, "label2id": {v: k for k, v in names.items()}}
    if task.head == "regressor":
        options |= {"num_labels": 1, "problem_type": "regression"}
    if recipe.dropout is not None:
        options |= _dropouts(weights_dir, recipe)
    loader = _loader(task, weights_dir)
    tokenizer = _tokenizer(weights_dir)
    tokenizer.model_max_length = recipe.max_length_tokens
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    with torch.random.fork_rng():
        torch.manual_seed(derive(recipe.seed if seed is None else seed, "new weights"))
        model = read(weights_dir, loader, **options)
        _check_tokenizer(model, tokenizer, weights_dir)
        _check_length(model, recipe)
        model.config.pad_token_id = tokenizer.pad_token_id
        if task.head == "generator":
            model.generation_config = transformers.GenerationConfig(
                max_new_tokens=recipe.max_new_tokens,
                do_sample=False,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        if recipe.adaptation == "lora":
            model = _with_adapters(model, recipe, task)
    return model, tokenizer


def load_trained(
    model_dir: Path, *, task: Task, base_dir: Path | None = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A finished model, ready to answer: in evaluation mode, on the CPU, in the precision it is stored in. Of adapters
    over a base whose tensors are others' as well: to be read only.

    Args:
        base_dir: of adapters, where their base lies; default: as it is noted beside `model_dir`.

    Raises:
        InputFileError: no model that can be read in `model_dir`.
    """
    import transformers

    loader = _loader(task, model_dir)
    if adapters.reference(model_dir):
        model = adapters.load(model_dir, open_base=partial(_opened, loader), base_dir=base_dir)
    else:
        model = read(model_dir, loader, dtype="auto")
    return model.eval(), transformers.AutoTokenizer.from_pretrained(model_dir, local_files_only=True)


def load_whole(
    model_dir: Path, *, task: Task, dtype: Any = "auto"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A finished model as weights of its own, into which adapters are merged.

    Args:
        dtype: default: that of the base; `torch.float32` holds what a merge in bf16 rounds.

    Raises:
        InputFileError: no model that can be read in `model_dir`.
    """
    import transformers

    model = read(model_dir, _loader(task, model_dir), dtype=dtype)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(model_dir, local_files_only=True)


def merged(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model without adapters: their product added to the weights they adapt."""
    merge = getattr(model, "merge_and_unload", None)
    return merge() if merge else model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and no report that calls a new head a missing one; afterwards as before."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read(folder: Path, loader: Any, **options: Any) -> "PreTrainedModel":
    """A model from a Hugging Face folder, by one of transformers' classes; adapters are merged into their base.

    Its tensors are moved to memory of torch's own. Read from a file they lie wherever its header ends, and where a
    matrix lies decides how its product is rounded: the same GRU answered differently in the last bit (measured).

    Raises:
        InputFileError: no model that can be read.
    """
    if adapters.reference(folder):
        return adapters.whole(folder, open_base=partial(_opened, loader), **options)
    return _opened(loader, folder, **options)


def _opened(loader: Any, folder: Path, **options: Any) -> "PreTrainedModel":
    from itertools import chain

    from safetensors import SafetensorError

    if adapters.reference(folder):  # what adapters lie on may be adapters itself: a preference training's champion
        return read(folder, loader, **{name: value for name, value in options.items() if name != "config"})
    try:
        with quiet():
            model: PreTrainedModel = loader.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, **options
            )
    except (OSError, ValueError, SafetensorError) as err:
        remedy = "it should be a Hugging Face folder with safetensors"
        raise InputFileError(f"{folder} holds no model to read: {err}", remedy) from err
    for tensor in chain(model.parameters(), model.buffers()):
        tensor.data = tensor.data.clone()
    return model


def _tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as err:
        remedy = "its tokenizer belongs into the same folder: tokenizer.json and tokenizer_config.json"
        raise InputFileError(f"{folder} holds no tokenizer to read: {err}", remedy) from err


def _check_tokenizer(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """A tokenizer may be smaller than the embeddings, which are padded, but never larger."""
    embedding: Any = model.get_input_embeddings()
    rows, largest = len(embedding.weight), max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise InputFileError(
            f"the tokenizer in {folder} has tokens up to {largest}, and the model's embeddings end at {rows - 1}",
            "they are not of the same model: fetch both from one place",
        )


def _check_length(model: "PreTrainedModel", recipe: Finetune) -> None:
    most = getattr(model.config, "max_position_embeddings", None)
    if most and recipe.max_length_tokens + (recipe.max_new_tokens or 0) > most:
        raise RecipeError(
            f"{recipe.name}: max_length_tokens {recipe.max_length_tokens}"
            + (f" and max_new_tokens {recipe.max_new_tokens}" if recipe.max_new_tokens else "")
            + f": {recipe.base} takes {most} tokens",
            "ask for fewer",
        )


def _loader(task: Task, folder: Path) -> Any:
    import transformers

    config = _config(folder)
    if str(config.get("model_type", "")).startswith("banyan-"):
        from components.models import feedforward, ngram_gpt, recurrent, transformer, voting

        for ours in (feedforward, ngram_gpt, recurrent, transformer, voting):
            ours.register()
    if task.head == "generator" and config.get("is_encoder_decoder"):
        return transformers.AutoModelForSeq2SeqLM
    return {
        "classifier": transformers.AutoModelForSequenceClassification,
        "tagger": transformers.AutoModelForTokenClassification,
        "span": transformers.AutoModelForQuestionAnswering,
        "generator": transformers.AutoModelForCausalLM,
        "regressor": transformers.AutoModelForSequenceClassification,
    }[task.head]


DROPOUTS = (
    *("dropout", "attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop"),
)
"""What configurations call it: ours, Llama's and Qwen's, BERT's, GPT-2's."""


def _dropouts(folder: Path, recipe: Finetune) -> dict[str, float]:
    """The base's own, all at the recipe's share."""
    config = _config(folder)
    found = {name: recipe.dropout for name in DROPOUTS if config.get(name) is not None}
    if not found:
        raise RecipeError(f"{recipe.name}: dropout: {recipe.base} has none that could be set", "leave it out")
    return found  # type: ignore[return-value]


ADAPTED: dict[Head, str] = {
    "classifier": "SEQ_CLS",
    "tagger": "TOKEN_CLS",
    "span": "QUESTION_ANS",
    "generator": "CAUSAL_LM",
    "regressor": "SEQ_CLS",
}
"""Head → PEFT's name for it: what it calls the head is trained whole."""


def _with_adapters(model: "PreTrainedModel", recipe: Finetune, task: Task) -> "PreTrainedModel":
    import peft

    assert recipe.lora_rank is not None  # the recipe's own check
    config = peft.LoraConfig(
        task_type=ADAPTED[task.head],
        r=recipe.lora_rank,
        lora_alpha=2 * recipe.lora_rank,
        target_modules="all-linear",
        lora_dropout=recipe.dropout or 0.0,
    )
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as err:  # a recurrence has no linear map besides its output
        raise RecipeError(
            f"{recipe.name}: adaptation lora: {recipe.base} has nothing to adapt ({err})", "adaptation: full"
        ) from err
    for p in adapted.parameters():
        if p.requires_grad:  # peft leaves a new head in the base's precision
            p.data = p.data.float()
    return adapted  # type: ignore[return-value]


def _config(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        return content
    except (OSError, ValueError):
        return {}  # whoever reads the folder next says what is wrong with it
