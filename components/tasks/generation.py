"""Text generation: how a text goes on. Measured on held-out text, and on what is written."""

import ast
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.data.cleaning import clean_prose, strip_markup
from components.tasks.base import Answer, Example
from components.tasks.writing import BATCH_SIZE, Writing, body_and_head, plain_ids, positions

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

ORDER = 6
"""Bytes that the n-gram model looks back on."""
MIN_PROMPT_CHARS, MIN_TARGET_CHARS = 60, 40


@dataclass(frozen=True)
class Continuation(Answer):
    """How a text goes on, and how well the model foresaw the text itself."""

    bits_per_byte: float | None = None
    """Of the text that was given, which nobody trained on: cross-entropy in bits over its bytes in UTF-8."""


class Generation(Writing):
    name = "generation"
    title = "How a text goes on"
    metric_name = "byte_probability"
    metrics = ("bits_per_byte", "repetition", "distinct_1", "distinct_2")
    template = "{text}"
    lead = " "
    example = "The shortest path between two nodes of a graph is"
    baseline_name = f"n-gram model over bytes (order {ORDER}, Witten–Bell)"

    def rows(
        self,
        frame: "pd.DataFrame",
        tokenizer: "PreTrainedTokenizerBase",
        recipe: "Finetune",
        labels: Sequence[str],  # noqa: ARG002  # free text has none
    ) -> list[Example]:
        """Start token, text, target, end token: all but the first carry loss, for all of it is text to foresee."""
        assert recipe.max_new_tokens is not None  # see `check`
        prompts = self.prompts(list(frame["text"]), tokenizer)
        targets = plain_ids([f"{self.lead}{target}" for target in frame["target"]], tokenizer)
        examples: list[Example] = []
        for prompt, target in zip(prompts, targets, strict=True):
            ids = [*prompt, *target[: recipe.max_new_tokens - 1], int(tokenizer.eos_token_id)]
            examples.append({"input_ids": ids, "labels": ids})
        return examples

    def prompts(self, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
        """A start token, as in training, and the text's last tokens: what is too long loses its beginning."""
        room = max(1, int(tokenizer.model_max_length) - 1)
        return [[_start(tokenizer), *ids[-room:]] for ids in plain_ids(list(texts), tokenizer)]

    def is_over(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> bool:  # noqa: ARG002
        """Only at the end token or the longest answer."""
        return False

    def said(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        """Continuations, each with the bits per byte of the text before it."""
        prompts = self.prompts(texts, tokenizer)
        bits: list[float | None] = []
        for begin in range(0, len(prompts), BATCH_SIZE):
            bits += _bits_per_byte(model, tokenizer, prompts[begin : begin + BATCH_SIZE])
        written = super().answer(model, tokenizer, texts)
        return [
            Continuation(a.output, a.confidence, a.alternatives, bits_per_byte=b)
            for a, b in zip(written, bits, strict=True)
        ]

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """2^-(bits per byte) of the held-out text: the geometric mean probability of a byte. Tokenizers do not matter.

        An answer that comes without it, a person's, scores 1 where it is the target and 0 otherwise.
        """
        import pandas as pd

        rows = []
        for answer, row_id, target in zip(answers, frame["id"], frame["target"], strict=True):
            bits = answer.bits_per_byte if isinstance(answer, Continuation) else None
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": target,
                    "score": float(answer.output == target) if bits is None else 2.0**-bits,
                    "confidence": answer.confidence,
                    "bits_per_byte": bits,
                    "repetition": repetition(answer.output),
                }
            )
        names = ["id", "prediction", "target", "score", "confidence", "bits_per_byte", "repetition"]
        return pd.DataFrame(rows, columns=names)

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """Means; and distinct-1, distinct-2 (Li et al. 2016): different words and pairs of words over all of them."""
        found = {name: float(per_example[name].astype(float).mean()) for name in ("bits_per_byte", "repetition")}
        for n in (1, 2):
            grams = [gram for said in per_example["prediction"] for gram in _grams(said, n)]
            found[f"distinct_{n}"] = len(set(grams)) / len(grams) if grams else math.nan
        return found

    def baseline(
        self,
        train: "pd.DataFrame",
        test: "pd.DataFrame",
        labels: Sequence[str],  # noqa: ARG002  # free text has none
    ) -> "pd.DataFrame":
        """The likeliest byte after the last ones, as counted in the training texts."""
        model = Ngrams(ORDER)
        for text, target in zip(train["text"], train["target"], strict=True):
            model.count(f"{text}{self.lead}{target}\n")
        answers = []
        for text in test["text"]:
            said, probability = model.go_on(text, most=160)
            answers.append(Continuation(said.strip(), probability, bits_per_byte=model.bits_per_byte(text)))
        return self.score(answers, test)

    def gold(self, code: ast.Module) -> Iterator[tuple[str, str]]:
        """Paragraphs of prose in docstrings, cut in two between words: what comes first, and how its author went on."""
        for node in ast.walk(code):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                plain = clean_prose(strip_markup(paragraph))
                letters = sum(c.isalpha() or c.isspace() for c in plain)
                if len(plain) < MIN_PROMPT_CHARS + MIN_TARGET_CHARS or letters < 0.85 * len(plain) or ">>>" in plain:
                    continue
                cut = plain.rfind(" ", 0, max(MIN_PROMPT_CHARS, int(0.6 * len(plain))))
                if cut > 0:
                    yield plain[:cut], plain[cut + 1 :]


class Ngrams:
    """Counts of bytes after the bytes before them, interpolated by Witten and Bell's rule down to evenly likely bytes.

    Source: Chen and Goodman 1998, "An empirical study of smoothing techniques", section 2.6; over bytes, so that every
    text has a probability and bits per byte compare with any model's.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.after: dict[bytes, Counter[int]] = defaultdict(Counter)

    def count(self, text: str) -> None:
        """Learn a text."""
        content = text.encode("utf-8", "replace")
        for position, byte in enumerate(content):
            for length in range(min(self.order, position) + 1):
                self.after[content[position - length : position]][byte] += 1

    def probability(self, byte: int, before: bytes) -> float:
        """Of a byte after the last `order` bytes."""
        found = 1 / 256
        for length in range(min(self.order, len(before)) + 1):
            seen = self.after.get(before[len(before) - length :])
            if seen is None:
                break  # what was never seen has no longer context that was
            total, kinds = seen.total(), len(seen)
            found = (seen[byte] + kinds * found) / (total + kinds)
        return found

    def bits_per_byte(self, text: str) -> float | None:
        """Cross-entropy of a text in bits, over its bytes; None of an empty one."""
        content = text.encode("utf-8", "replace")
        bits = -sum(math.log2(self.probability(b, content[max(0, i - self.order) : i])) for i, b in enumerate(content))
        return bits / len(content) if content else None

    def go_on(self, text: str, *, most: int) -> tuple[str, float]:
        """The likeliest bytes up to a line's end, and their geometric mean probability."""
        said, logs = b"", 0.0
        before = text.encode("utf-8", "replace")
        for _ in range(most):
            seen = next(
                (self.after[before[len(before) - n :]] for n in range(min(self.order, len(before)), -1, -1)
                 if before[len(before) - n :] in self.after),
                Counter(b"\n"),
            )  # fmt: skip
            byte = max(seen, key=lambda b: (seen[b], -b))
            if byte == ord("\n"):
                break
            logs += math.log(self.probability(byte, before[-self.order :]))
            said, before = said + bytes([byte]), before + bytes([byte])
        return said.decode("utf-8", "replace"), math.exp(logs / max(1, len(said)))


def repetition(text: str, *, n: int = 4) -> float | None:
    """Share of a text's n-grams of words that were there before in it (seq-rep-4: Welleck et al. 2019); None of a
    text with none."""
    grams = _grams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _start(tokenizer: "PreTrainedTokenizerBase") -> int:
    return int(tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id)


def _bits_per_byte(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[list[int]]
) -> list[float | None]:
    """Per prompt: cross-entropy of its tokens after the start token, over the bytes that they spell."""
    import torch

    length, start = max(map(len, prompts)), _start(tokenizer)
    ids = torch.tensor([[start] * (length - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    body, head = body_and_head(model)
    found: list[float | None] = []
    with torch.inference_mode():
        hidden = body(
            input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=False
        ).last_hidden_state  # (B, T, C)
        for i, prompt in enumerate(prompts):
            text = prompt[1:]
            logits = head(hidden[i, -len(prompt) : -1]).float()  # (tokens, V)
            nats = torch.nn.functional.cross_entropy(logits, ids[i, length - len(text) :], reduction="sum")
            num_bytes = len(str(tokenizer.decode(text)).encode("utf-8", "replace"))
            found.append(float(nats) / math.log(2) / num_bytes if num_bytes else None)
    return found


TASK = Generation()
