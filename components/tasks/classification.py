"""Classification: which of a table's labels does a text deserve?"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from components.errors import MappingError
from components.tasks.base import Answer, ColumnType, Example, Task

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

BATCH_SIZE = 32
"""Texts answered at once, of like length."""


class Classification(Task):
    name = "classification"
    title = "Which label belongs to a text"
    columns = ("text", "label")
    column_types: Mapping[str, ColumnType] = {"text": "line", "label": "label"}
    metric_name = "accuracy"
    metrics = ("top3", "macro_f1", "chance", "calibration_error")
    head = "classifier"
    template = "{text}"
    example = "Return the shortest path between two nodes of a weighted graph."
    baseline_name = "TF-IDF + logistic regression"

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        number = {label: i for i, label in enumerate(labels)}
        if unknown := sorted(set(frame["label"]) - set(number)):
            raise MappingError(f"labels {unknown} are not the table's", f"its labels are: {', '.join(labels)}")
        ids = tokenizer(list(frame["text"]), truncation=True, max_length=recipe.max_length_tokens)["input_ids"]
        return [{"input_ids": row, "labels": number[label]} for row, label in zip(ids, frame["label"], strict=True)]

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """Padded on the right. labels (B,)."""
        import torch

        length = max(len(example["input_ids"]) for example in examples)
        ids = torch.full((len(examples), length), pad_id)
        mask = torch.zeros_like(ids)
        for i, example in enumerate(examples):
            n = len(example["input_ids"])
            ids[i, :n], mask[i, :n] = torch.tensor(example["input_ids"]), 1
        labels = torch.tensor([example["labels"] for example in examples])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits  # (B, labels)
        summed = torch.nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="sum")
        return summed, torch.tensor(len(logits))

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        import torch

        answers: list[Answer | None] = [None] * len(texts)
        names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
        for batch in batches_of_like_length(texts):
            chosen = [texts[i] or " " for i in batch]  # of some tokenizers an empty text is nothing
            inputs = tokenizer(chosen, truncation=True, padding=True, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                probabilities = model(**inputs).logits.float().softmax(-1).cpu()  # (B, labels)
            for i, row in zip(batch, probabilities, strict=True):
                p, order = row.sort(descending=True, stable=True)
                ranked = tuple((names[int(k)], float(v)) for k, v in zip(order, p, strict=True))
                answers[i] = Answer(output=ranked[0][0], confidence=ranked[0][1], alternatives=ranked)
        return [answer for answer in answers if answer]

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """1 for the right label, 0 for another."""
        import pandas as pd

        rows = []
        for answer, row_id, label in zip(answers, frame["id"], frame["label"], strict=True):
            near = [name for name, _ in answer.alternatives[:3]]
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": label,
                    "score": float(answer.output == label),
                    "top3": float(label in near),
                    "confidence": answer.confidence,
                }
            )
        return pd.DataFrame(rows, columns=["id", "prediction", "target", "score", "top3", "confidence"])

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """Mean F1 over the labels that occur; one over their number; calibration error (see `calibration_error`)."""
        return {
            "top3": float(per_example["top3"].mean()),
            "macro_f1": _macro_f1(per_example),
            "chance": 1 / max(1, per_example["target"].nunique()),
            "calibration_error": calibration_error(per_example),
        }

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """Words and pairs of words, weighed by TF-IDF, in a logistic regression: what any team tries first."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # 0.9 s to import
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        if train["label"].nunique() < 2:  # nothing to learn: it always says the one label there is
            only = train["label"].iloc[0] if len(train) else labels[0]
            return self.score([Answer(only, 1.0, ((only, 1.0),))] * len(test), test)
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
        plain = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
        plain.fit(train["text"], train["label"])
        answers = []
        for row in plain.predict_proba(test["text"]):
            ranked = tuple((str(plain.classes_[k]), float(row[k])) for k in (-row).argsort(kind="stable"))
            answers.append(Answer(ranked[0][0], ranked[0][1], ranked))
        return self.score(answers, test)


def batches_of_like_length(texts: Sequence[str]) -> list[list[int]]:
    """Positions, shortest texts first: little padding, and always the same batches for the same texts."""
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    return [order[i : i + BATCH_SIZE] for i in range(0, len(order), BATCH_SIZE)]


def _macro_f1(per_example: "pd.DataFrame") -> float:
    said, true = per_example["prediction"], per_example["target"]
    scores = []
    for label in sorted(set(true)):
        both = int(((said == label) & (true == label)).sum())
        scores.append(2 * both / (int((said == label).sum()) + int((true == label).sum())))
    return sum(scores) / len(scores) if scores else math.nan


def calibration_error(per_example: "pd.DataFrame") -> float:
    """Expected, over ten bins of confidence (Guo et al. 2017, eq. 3)."""
    bins = (per_example["confidence"] * 10).clip(upper=9.999).astype(int)
    error = 0.0
    for _, part in per_example.groupby(bins):
        error += len(part) / len(per_example) * abs(float(part["score"].mean() - part["confidence"].mean()))
    return error


TASK = Classification()
