"""What a language model is pretrained to predict, as batches of a corpus's rows and their loss."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.models.families import FAMILIES, Objective
from components.recipes import Pretrain
from components.tasks.base import IGNORED
from components.training import losses
from components.training.loop import Batch
from components.training.seeds import RowOrder, generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MASKED_SHARE = 0.15


def objective_of(recipe: Pretrain) -> Objective:
    """What the recipe names, or what its family is for."""
    return recipe.objective or FAMILIES[recipe.family].objective


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


def evenly(rows: "Tensor", most: int | None) -> "Tensor":
    """At most so many of the rows, evenly spaced."""
    import torch

    return rows if most is None else rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).long()]


@dataclass(frozen=True)
class Rows:
    """Token rows (n, T + 1) as batches of a training."""

    tokens: "Tensor"
    tokenizer: "PreTrainedTokenizerFast"
    recipe: Pretrain

    def __post_init__(self) -> None:
        many = self.recipe.batch_size * self.recipe.num_accumulation_steps
        object.__setattr__(
            self, "_order", RowOrder(num_rows=len(self.tokens), rows_per_step=many, seed=self.recipe.seed)
        )

    def numbers(self, step: int) -> list[int]:
        """Of the rows that a step takes, in the order of its batches."""
        order: RowOrder = self._order  # type: ignore[attr-defined]
        return order.rows(step)

    def names(self, step: int) -> list[str]:
        """The same, for people."""
        return [f"row {number}" for number in self.numbers(step)]

    def micro_batches(self, step: int) -> list[Batch]:
        """The batches of a training's step."""
        return self.batches(self.numbers(step), "mask", step)

    def heldout(self) -> list[Batch]:
        """All rows, the same way every time. Of `prefix` only the first token is given: every other one is predicted
        from all before it, so that bits per byte compare with a causal family's."""
        return self.batches(list(range(len(self.tokens))), "heldout mask", prefix=1)

    def batches(self, numbers: list[int], *purpose: str | int, prefix: int | None = None) -> list[Batch]:
        """Rows of these numbers in batches of the recipe's size. Draws are for the whole, so that its division into
        batches changes nothing.

        causal, masked: input_ids and labels (B, T): the next token of each, or the hidden ones and IGNORED elsewhere.
        prefix: input_ids (B, P), decoder_input_ids and labels (B, T + 1 − P); P is drawn from 1 … T / 2 (Raffel et al.
        2020, arXiv 1910.10683, §3.2.3, whose P is anywhere in the row) or given.
        continuation: input_ids (B, T / 2), decoder_input_ids (B, T / 2), labels (B,): 1 where the second is what
        follows the first, 0 where it is another row's (Devlin et al. 2018, §3.1, task 2).

        With `document_masks` also segments (B, T): the number of the document that a place belongs to.
        """
        rows = self.tokens[numbers].long()  # of a packed corpus: mapped, and two bytes each
        objective = objective_of(self.recipe)
        draw = generator(self.recipe.seed, *purpose)
        if objective == "causal":
            batch = {"input_ids": rows[:, :-1], "labels": rows[:, 1:]}
        elif objective == "masked":
            batch = dict(zip(("input_ids", "labels"), self._hide(rows[:, :-1], draw), strict=True))
        elif objective == "prefix":
            batch = self._divide(rows, prefix, draw)
        else:
            batch = self._pair(numbers, draw)
        if (
            self.recipe.document_masks
        ):  # the end token opens the next document: its place predicts that one's first token
            batch["segments"] = (rows[:, :-1] == self.tokenizer.eos_token_id).cumsum(1)
        size = self.recipe.batch_size
        return [{name: t[i : i + size] for name, t in batch.items()} for i in range(0, len(numbers), size)]

    def _hide(self, rows: "Tensor", draw: "torch.Generator") -> "tuple[Tensor, Tensor]":
        """Of 15 % of the tokens 80 % become the mask, 10 % another token, 10 % stay (Devlin et al. 2018, §3.1)."""
        import torch

        hidden = torch.rand(rows.shape, generator=draw) < MASKED_SHARE
        hidden[:, 0] |= ~hidden.any(1)  # a row without targets would teach nothing
        how = torch.rand(rows.shape, generator=draw)
        other = torch.randint(len(self.tokenizer), rows.shape, generator=draw)
        seen = rows.masked_fill(hidden & (how < 0.8), int(self.tokenizer.mask_token_id))
        seen = torch.where(hidden & (how >= 0.9), other, seen)
        return seen, rows.masked_fill(~hidden, IGNORED)

    def _divide(self, rows: "Tensor", prefix: int | None, draw: "torch.Generator") -> "dict[str, Tensor]":
        import torch

        half = (rows.shape[1] - 1) // 2
        at = prefix or int(torch.randint(1, max(1, half) + 1, (), generator=draw))
        start = rows.new_full((len(rows), 1), int(self.tokenizer.eos_token_id))
        return {
            "input_ids": rows[:, :at],
            "decoder_input_ids": torch.cat([start, rows[:, at:-1]], 1),
            "labels": rows[:, at:],
        }

    def _pair(self, numbers: list[int], draw: "torch.Generator") -> "dict[str, Tensor]":
        import torch

        half, many = (self.tokens.shape[1] - 1) // 2, len(self.tokens)
        goes_on = torch.rand(len(numbers), generator=draw) < 0.5
        away = torch.randint(1, many, (len(numbers),), generator=draw)
        own = torch.tensor(numbers)
        second = torch.where(goes_on, own, (own + away) % many)
        return {
            "input_ids": self.tokens[own, :half].long(),
            "decoder_input_ids": self.tokens[second, half : 2 * half].long(),
            "labels": goes_on.float(),
        }


def objective_loss(model: "PreTrainedModel", batch: Batch, *, label_smoothing: float = 0.0) -> "tuple[Tensor, Tensor]":
    """Sum of cross-entropies in nats, and over how many targets, of any of the objectives' batches."""
    return loss_of(logits_of(model, batch), batch["labels"], label_smoothing=label_smoothing)


def logits_of(model: "PreTrainedModel", batch: Batch) -> "Tensor":
    """(B, T, V) of tokens; (B, 1) of yes or no."""
    inputs = {name: t for name, t in batch.items() if name not in {"labels", "segments"}}
    if "segments" in batch:
        inputs |= within_documents(batch["segments"], is_causal=not type(model).__name__.endswith("ForMaskedLM"))
    logits: Tensor = model(**inputs).logits
    return logits


def loss_of(logits: "Tensor", labels: "Tensor", *, label_smoothing: float = 0.0) -> "tuple[Tensor, Tensor]":
    """As `objective_loss`, of logits as `logits_of` gives them."""
    if labels.ndim == 1:
        return losses.binary(logits.squeeze(-1), labels, label_smoothing=label_smoothing)
    return losses.tokens(logits, labels, label_smoothing=label_smoothing)


def within_documents(segments: "Tensor", *, is_causal: bool) -> "dict[str, Tensor]":
    """segments (B, T), growing along a row → attention_mask (B, 1, T, T), added to the scores: 0 where a place may
    look and fp32's least number elsewhere; position_ids (B, T), from 0 in each document."""
    import torch

    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]  # (B, T, T)
    place = torch.arange(length, device=segments.device)
    first = torch.where(same, place, length).amin(-1)  # of each place's document
    if is_causal:
        same = same & (place[:, None] >= place)
    mask = torch.zeros(same.shape, device=segments.device).masked_fill(~same, torch.finfo(torch.float32).min)
    return {"attention_mask": mask[:, None], "position_ids": place - first}
