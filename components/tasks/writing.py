"""Tasks whose answers a model writes, token by token: a causal one continues a prompt, an encoder–decoder reads it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.errors import RecipeError
from components.tasks.base import IGNORED, Answer, Example, Task

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

BATCH_SIZE = 16
"""Texts answered at once, of like length."""


class Writing(Task):
    """What such tasks share; each says its template, its end, and how answers are scored."""

    columns: tuple[str, ...] = ("text", "target")
    head = "generator"
    lead = " "
    """What stands between prompt and target."""

    def check(self, recipe: "Finetune") -> None:
        """It must say how long an answer may be."""
        if recipe.max_new_tokens is None:
            raise RecipeError(f"{recipe.name}: max_new_tokens: {self.name} needs it", "add max_new_tokens: 32")

    def rows(
        self,
        frame: "pd.DataFrame",
        tokenizer: "PreTrainedTokenizerBase",
        recipe: "Finetune",
        labels: Sequence[str],  # noqa: ARG002  # free text has none
    ) -> list[Example]:
        """Prompt, target, end token; only the target and the end carry loss."""
        assert recipe.max_new_tokens is not None  # see `check`
        prompts = self.prompts(list(frame["text"]), tokenizer)
        targets = plain_ids([f"{self.lead}{target}" for target in frame[self.columns[1]]], tokenizer)
        examples: list[Example] = []
        for prompt, target in zip(prompts, targets, strict=True):
            said = [*target[: recipe.max_new_tokens - 1], tokenizer.eos_token_id]
            examples.append({"input_ids": prompt + said, "labels": [IGNORED] * len(prompt) + said})
        return examples

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """Padded on the left, as for generation: all targets end together. labels (B, T)."""
        import torch

        length = max(len(example["input_ids"]) for example in examples)
        ids = torch.full((len(examples), length), pad_id)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, IGNORED)
        for i, example in enumerate(examples):
            n = len(example["input_ids"])
            ids[i, -n:], mask[i, -n:] = torch.tensor(example["input_ids"]), 1
            labels[i, -n:] = torch.tensor(example["labels"])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Logits are computed for the targets alone: the vocabulary is a fifth of SmolLM2's parameters."""
        import torch

        if model.config.is_encoder_decoder:
            return _loss_of_decoder(model, batch)
        body, head = body_and_head(model)
        mask = batch["attention_mask"]
        hidden = body(
            input_ids=batch["input_ids"], attention_mask=mask, position_ids=positions(mask), use_cache=False
        ).last_hidden_state  # (B, T, C)
        targets = batch["labels"][:, 1:]
        chosen = targets != IGNORED
        logits = head(hidden[:, :-1][chosen])  # (targets, V)
        return torch.nn.functional.cross_entropy(logits.float(), targets[chosen], reduction="sum"), chosen.sum()

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        prompts = self.prompts(texts, tokenizer)
        order = sorted(range(len(texts)), key=lambda i: (len(prompts[i]), i))  # little padding
        answers: dict[int, Answer] = {}
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            write = _greedy_decoder if model.config.is_encoder_decoder else _greedy
            written = write(model, tokenizer, [prompts[i] for i in batch], is_over=self.is_over)
            for i, (ids, logprob) in zip(batch, written, strict=True):
                answers[i] = Answer(self.said(ids, tokenizer), math.exp(logprob / max(1, len(ids))))
        return [answers[i] for i in range(len(texts))]

    def prompts(self, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
        """Template and text, at most `tokenizer.model_max_length` tokens: what is too long loses the text's end."""
        parts = self.template.split("{text}")
        head, tail = tokenizer(parts, add_special_tokens=False, split_special_tokens=False)["input_ids"]
        room = max(1, int(tokenizer.model_max_length) - len(head) - len(tail))
        # no model goes on from nothing at all
        start = [int(tokenizer.eos_token_id)]
        return [head + ids[:room] + tail or start for ids in plain_ids(list(texts), tokenizer)]

    def is_over(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> bool:
        """At the end of its line: it says one."""
        return len(ids) > 1 and "\n" in str(tokenizer.decode([ids[-1]]))

    def said(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
        """The first line that is not blank."""
        text = str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
        return text.splitlines()[0].strip() if text else ""


def plain_ids(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Token ids without special tokens; a text that spells one is text, so that it cannot end the prompt."""
    return tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
    )["input_ids"]


def body_and_head(model: "PreTrainedModel") -> "tuple[torch.nn.Module, torch.nn.Module]":
    """What gives hidden states, and what makes logits of them, adapters or not.

    `logits_to_keep` would hand the head a slice that is not contiguous, and torch then copies the vocabulary's matrix
    once per row: half of a training step's time (measured).
    """
    causal: Any = model  # of PEFT's class when adapters are on it
    causal = causal.get_base_model() if hasattr(causal, "get_base_model") else causal
    return causal.base_model, causal.get_output_embeddings()


def positions(mask: "torch.Tensor") -> "torch.Tensor":
    """(B, T): 0 at each row's first token, wherever padding puts it."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _greedy(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[list[int]],
    *,
    is_over: Callable[[Sequence[int], "PreTrainedTokenizerBase"], bool],
) -> list[tuple[list[int], float]]:
    """Per prompt: the likeliest next tokens up to the end token or a new line, and the sum of their log-probabilities.

    `generate` with `output_scores` keeps a vocabulary of logits per token; here one number each is kept.
    """
    import torch

    length = max(map(len, prompts))
    end = int(tokenizer.eos_token_id)
    ids = torch.tensor([[end] * (length - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    generation = model.generation_config
    limit = int(generation.max_new_tokens) if generation is not None and generation.max_new_tokens else 32
    said: list[list[int]] = [[] for _ in prompts]
    logprobs = [0.0] * len(prompts)
    going = set(range(len(prompts)))
    cache = None
    body, head = body_and_head(model)
    with torch.inference_mode():
        for _ in range(limit):
            fed = ids if cache is None else ids[:, -1:]
            out = body(
                input_ids=fed,
                attention_mask=mask,
                position_ids=positions(mask)[:, -fed.shape[1] :],
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            best, token = head(out.last_hidden_state[:, -1]).float().log_softmax(-1).max(-1)  # (B,)
            for i, (logprob, number) in enumerate(zip(best.tolist(), token.tolist(), strict=True)):
                if i not in going:
                    continue
                if number == end:
                    going.discard(i)
                    continue
                said[i].append(number)
                logprobs[i] += logprob
                if is_over(said[i], tokenizer):
                    going.discard(i)
            if not going:
                break
            ids = torch.cat([ids, token[:, None]], 1)
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], 1)
    return list(zip(said, logprobs, strict=True))


def _loss_of_decoder(
    model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The same batch for an encoder–decoder: it reads what carries no loss, and writes what does."""
    import torch

    ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
    written = labels != IGNORED
    read = mask.bool() & ~written
    pad, start = int(model.config.pad_token_id or 0), int(model.config.decoder_start_token_id or 0)
    source = ids.new_full((len(ids), int(read.sum(1).max())), pad)
    target = ids.new_full((len(ids), int(written.sum(1).max())), IGNORED)
    for i in range(len(ids)):
        own, said = ids[i, read[i]], ids[i, written[i]]
        source[i, : len(own)], target[i, : len(said)] = own, said
    lengths = read.sum(1, keepdim=True)
    shifted = torch.cat([ids.new_full((len(ids), 1), start), target[:, :-1]], 1)
    logits = model(
        input_ids=source,
        attention_mask=(torch.arange(source.shape[1], device=ids.device) < lengths).long(),
        decoder_input_ids=shifted.masked_fill(shifted == IGNORED, pad),
        use_cache=False,
    ).logits  # (B, T, V)
    chosen = target != IGNORED
    return torch.nn.functional.cross_entropy(logits[chosen].float(), target[chosen], reduction="sum"), chosen.sum()


def _greedy_decoder(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[list[int]],
    *,
    is_over: Callable[[Sequence[int], "PreTrainedTokenizerBase"], bool],
) -> list[tuple[list[int], float]]:
    """As `_greedy`, by the library's own generation: the decoder starts from nothing."""
    import torch

    length, end = max(map(len, prompts)), int(tokenizer.eos_token_id)
    ids = torch.tensor([p + [end] * (length - len(p)) for p in prompts], device=model.device)
    mask = torch.tensor([[1] * len(p) + [0] * (length - len(p)) for p in prompts], device=model.device)
    with torch.inference_mode():
        made: Any = model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=mask, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    best = torch.stack([step.float().log_softmax(-1) for step in made.logits], 1)  # (B, T, V)
    steps = made.sequences[:, -best.shape[1] :]
    chosen = best.gather(-1, steps[..., None])[..., 0].tolist()
    found = []
    for numbers, logprobs in zip(steps.tolist(), chosen, strict=True):
        said: list[int] = []
        total = 0.0
        for number, logprob in zip(numbers, logprobs, strict=True):
            if number == end:
                break
            said.append(number)
            total += logprob
            if is_over(said, tokenizer):
                break
        found.append((said, total))
    return found
