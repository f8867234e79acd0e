"""Every kind of recipe: the parameters of one run, as frozen, strictly checked values.

A recipe is a YAML file in `flows/recipes/`, a flow's parameter (so that Prefect's UI shows its
schema), and part of the lock that determines a model's weights.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from components.errors import RecipeError


class Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def sha256(self) -> str:
        """Hash of the canonical JSON form: equal recipes, equal hashes."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- data


class PackageSource(Recipe):
    """Sources and docstrings of packages pinned in `assets.toml`."""

    kind: Literal["packages"] = "packages"
    assets: tuple[str, ...] = Field(min_length=1)


class BookSource(Recipe):
    """Plain-text books inside a pinned asset."""

    kind: Literal["books"] = "books"
    asset: str


class InterpreterSource(Recipe):
    """The running interpreter's own library: no download, but another data version per Python."""

    kind: Literal["interpreter"] = "interpreter"


class FileSource(Recipe):
    """One table of the user's own: CSV, JSONL or Parquet."""

    kind: Literal["file"] = "file"
    path: Path
    table: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    task: str
    columns: dict[str, str] = {}
    """Our column → the file's column, where the names differ."""
    licence: str = "unstated"
    missing: dict[str, Literal["drop", "constant", "most_frequent"]] = {}
    """Column → what to do where it is empty; rows without text or label are dropped by default."""
    labels: tuple[str, ...] = ()
    """The labels there may be; a row with another is rejected. None given: those of the file."""


Source = Annotated[PackageSource | BookSource | InterpreterSource | FileSource, Field(discriminator="kind")]


class RejectLimits(Recipe):
    """Shares of a table's raw rows. Above one, the batch is taken for poisoned and does not become a version."""

    missing: float = Field(default=0.2, ge=0, le=1)
    """No text, no label, or a row that cannot be read."""
    duplicate: float = Field(default=0.5, ge=0, le=1)
    conflicting: float = Field(default=0.1, ge=0, le=1)
    """The same text with different labels."""
    unknown_label: float = Field(default=0.1, ge=0, le=1)


class Ingest(Recipe):
    kind: Literal["ingest"] = "ingest"
    name: str
    sources: tuple[Source, ...] = Field(min_length=1)
    corpus_chars_per_source: int = Field(1_500_000, gt=0)
    split_rows: dict[str, int] = {"train": 200, "test": 1000, "pool": 1000, "reserve": 1000}
    """Rows per split of each labelled table (packages); a file is split by `test_share`."""
    table_split_rows: dict[str, dict[str, int]] = {}
    """Table → its own numbers instead."""
    corpus_heldout_share: float = Field(0.03, gt=0, lt=1)
    limits: RejectLimits = RejectLimits()
    test_share: float = Field(0.2, gt=0, lt=1)
    max_text_chars: int = Field(600, gt=0)
    seed: int = 0


# ---------------------------------------------------------------- training


class Training(Recipe):
    """What every training has."""

    name: str
    num_epochs: float | None = Field(None, gt=0)
    """Passes over the rows; give this or `num_steps`."""
    num_steps: int | None = Field(None, gt=0)
    batch_size: int = Field(16, gt=0)
    num_accumulation_steps: int = Field(1, gt=0)
    max_length_tokens: int = Field(64, gt=0)
    optimizer: Literal["adamw", "muon", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_share: float = Field(0.1, ge=0, lt=1)
    max_gradient_norm: float = Field(1.0, gt=0)
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

    def steps_over(self, num_rows: int) -> int:
        """Optimiser steps of a training on so many rows."""
        if self.num_steps is not None:
            return self.num_steps
        assert self.num_epochs is not None  # checked above
        return max(1, math.ceil(self.num_epochs * num_rows / (self.batch_size * self.num_accumulation_steps)))


class Pretrain(Training):
    kind: Literal["pretrain"] = "pretrain"
    table: str = "corpus"
    family: Literal["gpt", "rnn", "lstm", "gru", "bert"] = "gpt"
    vocab_size: int = Field(4096, ge=300)
    num_layers: int = Field(4, gt=0)
    num_heads: int | None = Field(None, gt=0)
    """Of attention families, which default to one per 64 of `hidden_size`; recurrent ones have none."""
    hidden_size: int = Field(256, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    sample_prompt: str = "def "
    sample_tokens: int = Field(48, gt=0)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.family in {"rnn", "lstm", "gru"}:
            if self.num_heads is not None:
                raise ValueError(f"num_heads: {self.family} has no attention")
        elif self.hidden_size % (2 * self.attention_heads):
            raise ValueError(f"hidden_size {self.hidden_size} is not an even multiple of {self.attention_heads} heads")
        return self

    @property
    def attention_heads(self) -> int:
        return self.num_heads or max(1, self.hidden_size // 64)


class Finetune(Training):
    kind: Literal["finetune"] = "finetune"
    task: str
    """A language task: a module of `components/tasks`."""
    table: str
    base: str
    """The weights to start from, always these and never the champion: an asset's name."""
    splits: dict[str, int | None] = {"train": None, "feedback": None}
    """Split → how many of its rows to train on (None: all; a split that is not there gives none)."""
    adaptation: Literal["full", "lora"] = "full"
    lora_rank: int | None = Field(None, gt=0)
    """Of `lora`, which needs it."""
    validation_share: float = Field(0.0, ge=0, lt=0.5)
    """Share of the training rows held out, only to draw their loss while it trains; 0: all rows are trained on."""
    max_test_rows: int | None = Field(None, gt=0)
    max_new_tokens: int | None = Field(None, gt=0)
    """The longest answer, of generative tasks, which need it."""
    role: Literal["candidate", "control"] = "candidate"
    """A control is trained and measured for comparison; the gate never promotes it."""

    @model_validator(mode="after")
    def _rank_fits(self) -> Self:
        if (self.adaptation == "lora") != (self.lora_rank is not None):
            raise ValueError("lora_rank goes with adaptation: lora, and only with it")
        return self


# ---------------------------------------------------------------- decisions


class GatePolicy(Recipe):
    """When a challenger replaces the champion (design: honest promotion)."""

    kind: Literal["gate"] = "gate"
    confidence_level: float = Field(0.95, gt=0.5, lt=1)
    minimum_difference: float = 0.0
    """The interval of challenger − champion must lie above this."""
    power: float = Field(0.8, gt=0, lt=1)
    """Used for "about N more examples would decide"."""
    num_resamples: int = Field(10_000, ge=1000)
    seed: int = 0


class TriggerPolicy(Recipe):
    """When new feedback is enough to retrain."""

    kind: Literal["trigger"] = "trigger"
    minimum_feedback: int = Field(200, gt=0)
    """Unconsumed feedback rows, counted in the ledger."""
    quiet_seconds: float = Field(5.0, ge=0)
    """How long no new row must have arrived: a burst is consumed whole."""
    longest_wait_seconds: float = Field(600.0, gt=0)
    """Retrain even if rows keep arriving."""


class Rater(Recipe):
    """A scripted rater: replays held-back labelled rows through the gateway. Not a person."""

    kind: Literal["rater"] = "rater"
    table: str
    split: str = "pool"
    num_requests: int = Field(1000, gt=0)
    silent_share: float = Field(0.30, ge=0, le=1)
    wrong_share: float = Field(0.05, ge=0, le=1)
    seed: int = 0


class Loop(Recipe):
    """One turn of the whole loop, by the names of the recipes it runs."""

    kind: Literal["loop"] = "loop"
    name: str
    ingest: str
    pretrain: str
    finetune: tuple[str, ...]
    rater: Rater


AnyRecipe = Annotated[
    Ingest | Pretrain | Finetune | GatePolicy | TriggerPolicy | Rater | Loop, Field(discriminator="kind")
]
_adapter: TypeAdapter[Any] = TypeAdapter(AnyRecipe)


def parse_recipe(content: object, *, origin: str = "recipe") -> Any:
    """The recipe that `content` (parsed YAML) describes.

    Raises:
        RecipeError: an unknown field, a missing one or an impossible value, by name.
    """
    try:
        return _adapter.validate_python(content)
    except ValidationError as err:
        lines = []
        for problem in err.errors():
            field = ".".join(str(part) for part in problem["loc"][1:]) or "kind"
            reason = "unknown field" if problem["type"] == "extra_forbidden" else problem["msg"]
            lines.append(f"{field}: {reason}")
        raise RecipeError(f"{origin}: {'; '.join(lines)}", "compare with the recipes in flows/recipes/") from err


def load_recipe(path: Path) -> Any:
    """The recipe in a YAML file.

    Raises:
        RecipeError: the file is missing, is not YAML, or does not describe a recipe.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as err:
        raise RecipeError(f"there is no recipe {path}", "list them with: ls flows/recipes") from err
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise RecipeError(f"{path} is not readable YAML: {err}") from err
    return parse_recipe(content, origin=str(path))
