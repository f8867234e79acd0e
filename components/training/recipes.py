"""The recipes of trainings: pretraining and fine-tuning, and what every training has."""

import math
import re
from operator import not_
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.recipe_base import Recipe


def _is_unsaid(value: object) -> bool:
    """Of fields that came later: unsaid, they leave the hashes of other recipes as they were."""
    return value is None


class Training(Recipe):
    """What every training has."""

    name: str
    num_epochs: float | None = Field(None, gt=0)
    """Passes over the rows; give this or `num_steps`."""
    num_steps: int | None = Field(None, gt=0)
    batch_size: int = Field(16, gt=0)
    num_accumulation_steps: int = Field(1, gt=0)
    max_length_tokens: int = Field(64, gt=0)
    optimizer: Literal["adamw", "muon", "adam", "sgd"] = "adamw"
    momentum: float | None = Field(None, gt=0, lt=1)
    """Of `sgd` (Polyak 1964); none: plain gradient descent."""
    learning_rate: float = Field(gt=0)
    table_learning_rate: float | None = Field(None, gt=0)
    """Of `muon`: the rate, at its height, of what AdamW takes beside it, the embeddings and the output layer above all
    (Jordan et al. 2024 give them a rate of their own); none: `learning_rate`."""
    weight_decay: float = Field(0.01, ge=0)
    """Of matrices, per step and unit of learning rate: decoupled (AdamW, Muon) or added to the gradient (Adam, SGD)."""
    l1: float = Field(0.0, ge=0)
    """Nats per unit of the matrices' summed absolute weights, added to what is minimised (Tibshirani 1996)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of a target's probability that is spread over all classes (Szegedy et al. 2016, arXiv 1512.00567, §7)."""
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "linear"
    decay_share: float | None = Field(None, gt=0, le=1)
    """Of `wsd`, which needs it: share of the steps, the last ones, in which the rate falls."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    max_gradient_norm: float = Field(1.0, gt=0)
    averaging: Literal["ema", "swa"] | None = None
    """The model is a mean of the weights along the way: `ema`, exponentially forgetting (Polyak & Juditsky 1992), or
    `swa`, even over the last steps (Izmailov et al. 2018, arXiv 1803.05407)."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Of `ema`, which needs it: what a step leaves of the mean before it."""
    swa_share: float | None = Field(None, gt=0, le=1)
    """Of `swa`, which needs it: share of the steps, the last ones, whose weights are averaged."""
    patience_evaluations: int | None = Field(None, gt=0)
    """Stop after so many evaluations without a lower held-out loss, and keep the weights of the lowest (Prechelt
    1998)."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them (Chen et al. 2016, arXiv 1604.06174)."""
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpoint_every_steps: int = Field(25, gt=0)
    evaluate_every_steps: int = Field(50, gt=0)
    """How often the held-out rows are looked at, if there are any."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if (self.num_epochs is None) == (self.num_steps is None):
            raise ValueError("give either num_epochs or num_steps")
        return self

    @model_validator(mode="after")
    def _has_no_option_without_effect(self) -> Self:
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(f"momentum goes with optimizer: sgd; {self.optimizer} has its own")
        if self.table_learning_rate is not None and self.optimizer != "muon":
            raise ValueError(f"table_learning_rate: {self.optimizer} has one rate; it goes with optimizer: muon")
        for field, needed in (
            ("decay_share", self.schedule == "wsd"),
            ("ema_decay", self.averaging == "ema"),
            ("swa_share", self.averaging == "swa"),
        ):
            if (getattr(self, field) is not None) != needed:
                raise ValueError(f"{field}: {'is needed' if needed else 'has no effect'} here")
        if self.schedule == "wsd" and self.warmup_share + (self.decay_share or 0) > 1:
            raise ValueError(f"warmup_share {self.warmup_share} and decay_share {self.decay_share} exceed the steps")
        return self

    def steps_over(self, num_rows: int) -> int:
        """Optimiser steps of a training on so many rows."""
        if self.num_steps is not None:
            return self.num_steps
        assert self.num_epochs is not None  # checked above
        return max(1, math.ceil(self.num_epochs * num_rows / (self.batch_size * self.num_accumulation_steps)))


class Pretrain(Training):
    kind: Literal["pretrain"] = "pretrain"
    table: str = "corpus"
    packed: Path | None = None
    """What `banyan data pack` made, in place of `table`: a folder, or the data version as `data:NAME` (the newest of
    that name) or `data:ID`. Its blocks are mapped into memory, its tokenizer is the model's."""
    family: Literal["feedforward", "rnn", "lstm", "gru", "transformer", "gpt2", "gpt", "bert", "ngram_gpt"] = "gpt"
    objective: Literal["causal", "masked", "prefix", "continuation"] | None = None
    """What is predicted; none: what the family is for. `transformer` has two: `prefix`, the rest of a row from its
    beginning, and `continuation`, whether a text goes on with another."""
    tokenizer: Literal["bpe", "characters"] = "bpe"
    """What a token is: of byte-level BPE, trained on the text, or a character of the text."""
    vocab_size: int = Field(4096, ge=300)
    """Of `bpe`; of `characters` the most there may be, special tokens included."""
    num_layers: int = Field(4, gt=0)
    num_heads: int | None = Field(None, gt=0)
    """Of attention families, which default to one per 64 of `hidden_size`; others have none."""
    num_kv_heads: int | None = Field(None, gt=0)
    """Of `gpt`: heads of keys and values, each shared by a group of queries (Ainslie et al. 2023, arXiv 2305.13245);
    none: as many as `num_heads`."""
    hidden_size: int = Field(256, gt=0)
    embedding_size: int | None = Field(None, gt=0)
    """Of recurrent families and `feedforward`; none: `hidden_size`."""
    context_tokens: int | None = Field(None, gt=0)
    """Of `feedforward` and `ngram_gpt`, which need it: how many tokens the next one is predicted from, and how many
    go in at a place."""
    dropout: float = Field(0.0, ge=0, lt=1)
    document_masks: bool = False
    """Of `gpt`, `gpt2` and `bert`: no token looks into another document of its row (Zhao et al. 2024, arXiv
    2402.13991)."""
    max_train_rows: int | None = Field(None, gt=0)
    """Rows of `max_length_tokens` to train on, evenly spaced over the corpus; none: all."""
    sample_prompt: str = "def "
    sample_tokens: int = Field(48, gt=0)

    @model_validator(mode="after")
    def _has_one_corpus(self) -> Self:
        if self.packed is not None:
            for field in ("table", "tokenizer", "vocab_size"):
                if getattr(self, field) != type(self).model_fields[field].default:
                    raise ValueError(f"{field}: it has no effect beside packed, which brings its own")
        return self

    @model_validator(mode="after")
    def _fits_its_family(self) -> Self:
        has_attention = self.family in {"transformer", "gpt2", "gpt", "bert", "ngram_gpt"}
        if not has_attention:
            if self.num_heads is not None:
                raise ValueError(f"num_heads: {self.family} has no attention")
        elif self.hidden_size % (2 * self.attention_heads):
            raise ValueError(f"hidden_size {self.hidden_size} is not an even multiple of {self.attention_heads} heads")
        for field, families in (
            ("num_kv_heads", {"gpt"}),
            ("embedding_size", {"feedforward", "rnn", "lstm", "gru"}),
            ("context_tokens", {"feedforward", "ngram_gpt"}),
            ("document_masks", {"gpt", "gpt2", "bert"}),
        ):
            if getattr(self, field) and self.family not in families:
                raise ValueError(f"{field}: {self.family} has none; of {', '.join(sorted(families))}")
        if self.attention_heads % (self.num_kv_heads or 1):
            raise ValueError(f"num_heads {self.attention_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.family in {"feedforward", "ngram_gpt"} and self.context_tokens is None:
            raise ValueError(f"context_tokens: {self.family} needs it")
        if self.gradient_checkpointing and not has_attention:
            raise ValueError(f"gradient_checkpointing: {self.family} has no blocks to compute again")
        possible = {"bert": ("masked",), "transformer": ("prefix", "continuation")}.get(self.family, ("causal",))
        if self.objective not in (None, *possible):
            raise ValueError(f"objective {self.objective}: {self.family} is trained by {' or '.join(possible)}")
        return self

    @property
    def attention_heads(self) -> int:
        return self.num_heads or max(1, self.hidden_size // 64)


class Augmentation(Recipe):
    """Rows made of the training split's own, for training only: nothing that is measured by is touched."""

    methods: tuple[Literal["synonyms", "swap", "delete", "insert", "characters", "sentences"], ...] = Field(
        ("synonyms", "swap", "delete", "insert"), min_length=1
    )
    """Of these one is drawn for each new row: the four of Wei and Zou (2019), typing mistakes, sentence order."""
    copies: int = Field(1, ge=0)
    """New rows of each row."""
    word_share: float = Field(0.1, gt=0, lt=1)
    """Share of a text's words that is changed."""
    balance: bool = False
    """Of tables with labels: rarer labels get more new rows, until they have as many as the commonest."""
    max_growth: float = Field(4.0, ge=1)
    """Of `balance`: no label grows beyond so many times its rows."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.copies and not self.balance:
            raise ValueError("copies: 0 without balance makes no rows; leave augmentation out")
        return self


class Fresh(Recipe):
    """A base that nothing was learned by: a family's shape, its weights drawn from the recipe's seed, and a tokenizer
    of the rows to train on. The fields are those of a pretraining."""

    family: Literal["feedforward", "rnn", "lstm", "gru", "transformer", "gpt2", "gpt", "bert", "ngram_gpt"]
    vocab_size: int = Field(4096, ge=300)
    num_layers: int = Field(2, gt=0)
    num_heads: int | None = Field(None, gt=0)
    num_kv_heads: int | None = Field(None, gt=0)
    hidden_size: int = Field(128, gt=0)
    embedding_size: int | None = Field(None, gt=0)
    context_tokens: int | None = Field(None, gt=0, exclude_if=_is_unsaid)
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _is_a_shape(self) -> Self:
        Pretrain(name="fresh", num_steps=1, learning_rate=1.0, **self.model_dump())  # the same rules
        return self


class Ensemble(Recipe):
    """Several trainings that differ in their seed, registered as one model."""

    method: Literal["average_weights", "vote"]
    """The mean of their weights, which serves like one; or, of classifiers, the mean of what they say."""
    members: int = Field(3, ge=2, le=16)


class Finetune(Training):
    kind: Literal["finetune"] = "finetune"
    task: str
    """A language task: a module of `components/tasks`."""
    table: str
    base: str
    """The weights to start from, always these and never the champion: an asset's name; `banyan-gpt@2`, a version of a
    language model that was pretrained here; or `fresh`."""
    fresh: Fresh | None = None
    """Of `base: fresh`, which needs it: what is drawn anew."""
    splits: dict[str, int | None] = {"train": None, "feedback": None}
    """Split → how many of its rows to train on (None: all; a split that is not there gives none)."""
    adaptation: Literal["full", "lora"] = "full"
    lora_rank: int | None = Field(None, gt=0)
    """Of `lora`, which needs it."""
    dropout: float | None = Field(None, ge=0, lt=1, exclude_if=_is_unsaid)
    """Share of activations that is dropped while training (Srivastava et al. 2014): wherever the base drops any, and at
    the adapters' inputs of `lora`; none: as the base's configuration has it, and none of the adapters'."""
    keep_adapters: bool = Field(False, exclude_if=not_)  # unsaid, it leaves the hashes of other recipes as they were
    """Of `lora`: the version holds its adapters alone and names its base, whose weights all versions on it share in
    memory; else they are merged."""
    validation_share: float = Field(0.0, ge=0, lt=0.5)
    """Share of the training rows held out, only to draw their loss while it trains; 0: all rows are trained on."""
    max_test_rows: int | None = Field(None, gt=0)
    max_new_tokens: int | None = Field(None, gt=0)
    """The longest answer, of generative tasks, which need it."""
    augmentation: Augmentation | None = None
    """More rows out of those of split `train`; none by default."""
    class_weights: Literal["balanced"] | None = None
    """Of one label a text: rarer labels' rows count more, each label's rows together as much as any other's."""
    ensemble: Ensemble | None = None
    """Several trainings put together as one model; none: one."""
    role: Literal["candidate", "control"] = "candidate"
    """A control is trained and measured for comparison; the gate never promotes it."""

    @property
    def own_base(self) -> tuple[str, int]:
        """Name and version of the language model of this installation that `base` names; of any other, version 0."""
        name, _, version = self.base.partition("@")
        return (name, int(version)) if version else (name, 0)

    @property
    def has_asset(self) -> bool:
        """Whether `base` is a pinned asset, which may have to be fetched."""
        return self.fresh is None and not self.own_base[1]

    @model_validator(mode="after")
    def _base_reads(self) -> Self:
        if (self.base == "fresh") != (self.fresh is not None):
            raise ValueError("fresh goes with base: fresh, and only with it")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*(@[1-9][0-9]*)?", self.base):
            raise ValueError(f"base {self.base!r}: name an asset, fresh, or a version of an own model: banyan-gpt@2")
        if self.fresh is not None and self.dropout is not None:
            raise ValueError("dropout: fresh weights have their own; write it there")
        if self.fresh is not None and self.adaptation != "full":
            raise ValueError(f"adaptation {self.adaptation}: fresh weights are trained whole")
        return self

    @model_validator(mode="after")
    def _rank_fits(self) -> Self:
        if (self.adaptation == "lora") != (self.lora_rank is not None):
            raise ValueError("lora_rank goes with adaptation: lora, and only with it")
        if self.keep_adapters and (self.adaptation != "lora" or self.ensemble):
            raise ValueError("keep_adapters goes with adaptation: lora and one training; an ensemble is whole weights")
        if self.augmentation and "train" not in self.splits:
            raise ValueError("augmentation is of split train, which splits does not name")
        if self.patience_evaluations and not self.validation_share:
            raise ValueError("patience_evaluations: there is nothing to evaluate on; give a validation_share")
        return self


class Preference(Finetune):
    """A training by what people prefer. Its rows are not those of the table but what was said of answers to it."""

    kind: Literal["preference"] = "preference"  # type: ignore[assignment]
    method: Literal["dpo", "kto"] = "dpo"
    """From pairs (Rafailov et al. 2023, arXiv 2305.18290), or from thumbs (Ethayarajh et al. 2024, arXiv 2402.01306).
    """
    beta: float = Field(0.1, gt=0)
    """How much it costs to leave the base, per nat."""
    rows: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    """sha256 of the rows to learn from; none: what the feedback so far gives, whose sha256 is written here before the
    training begins."""

    @property
    def has_asset(self) -> bool:
        return self.base != CHAMPION and super().has_asset

    @model_validator(mode="after")
    def _has_no_field_of_other_trainings(self) -> Self:
        for name in (
            *("augmentation", "validation_share", "label_smoothing", "patience_evaluations"),
            *("ensemble", "fresh", "class_weights"),
        ):
            if getattr(self, name):
                raise ValueError(f"{name} has no effect on training by preference; leave it out")
        return self


CHAMPION = "champion"
"""As the base of a training by preference: the table's champion, whose version is written down before it begins."""


class Span(Recipe):
    """Numbers from `low` to `high`, both included; of two whole numbers, whole ones."""

    low: int | float
    high: int | float
    log: bool = False
    """Draw the logarithm evenly: a rate of 1e-5 is as far from 1e-4 as that from 1e-3."""

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low {self.low} has no logarithm")
        return self


class Search(Recipe):
    """Which fields of a fine-tuning do best on training rows that are held out; the best is trained on all rows."""

    kind: Literal["search"] = "search"
    name: str
    recipe: str
    """The fine-tuning to search for: a name in flows/recipes, or a file."""
    space: dict[str, tuple[Any, ...] | Span] = Field(min_length=1)
    """Field → what it may be: a list of choices, or a span of numbers."""
    max_trials: int = Field(12, gt=0)
    minutes: float = Field(10.0, gt=0)
    """Of trials in all: no new one begins after these."""
    judge: Literal["loss", "score"] = "loss"
    """What the best is best by: the loss, or the mean score that the gate compares, which few rows tell coarsely."""
    stop_early: bool = True
    """Stop trials whose loss is above the median of the others at the same quarter of their steps."""
    validation_share: float = Field(0.25, gt=0, lt=0.5)
    """Share of the training rows that judge the trials. The test split is never looked at."""
    minimum_validation_rows: int = Field(20, gt=0)
    seed: int = 0

    @model_validator(mode="after")
    def _leaves_what_is_not_its_to_choose(self) -> Self:
        fixed = {
            "kind",
            "name",
            "task",
            "table",
            "splits",
            "role",
            "seed",
            "validation_share",
            "max_test_rows",
            "device",
        }
        if wrong := sorted(fixed & set(self.space)):
            raise ValueError(f"space: {', '.join(wrong)} is not for a search to choose")
        for name, span in self.space.items():
            if isinstance(span, tuple) and len(span) < 2:
                raise ValueError(f"space.{name}: one choice is none; leave it out")
        return self
