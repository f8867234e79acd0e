"""Regression: which number belongs to a text? A rating, a price, how alike two texts are.

An answer's `output` is the number in decimals. Training is by squared error (MSE) of the number less the training rows'
mean, over their standard deviation: what the head says is near 0 and 1 whatever the unit, and the two numbers lie in
the model's `config.json`. Least squares gives no probability: `confidence` is 1 for every answer, and says nothing.
"""

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from components.data.cleaning import clean_prose
from components.errors import DataError, MappingError
from components.tasks.base import Answer, ColumnType, Example, Task
from components.tasks.classification import TASK as CLASSIFICATION
from components.tasks.classification import batches_of_like_length

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune


class Regression(Task):
    name = "regression"
    title = "Which number belongs to a text"
    columns = ("text", "value")
    column_types: Mapping[str, ColumnType] = {"text": "line", "value": "line"}
    metric_name = "closeness"
    metrics = ("mse", "mae", "r2", "spearman")
    head = "regressor"
    template = "{text}"
    example = "The delivery was late, but the staff could not have been kinder."
    baseline_name = "TF-IDF + ridge regression"

    def fit(self, text: str, target: str) -> str:
        """The number, as Python writes it. ValueError: it is none."""
        del text
        return repr(_number(target))

    def gold(self, code: ast.Module) -> Iterator[tuple[str, str]]:
        """What a function says of itself first, and how many parameters it takes; `self` and `cls` are none."""
        for node in ast.walk(code):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            summary = clean_prose((ast.get_docstring(node) or "").partition("\n\n")[0])
            if len(summary.split()) >= MIN_WORDS:
                taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                yield summary, str(float(sum(one.arg not in {"self", "cls"} for one in taken)))

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        del labels
        ids = tokenizer(list(frame["text"]), truncation=True, max_length=recipe.max_length_tokens)["input_ids"]
        return [{"input_ids": row, "labels": value} for row, value in zip(ids, _values(frame), strict=True)]

    def prepare(self, model: "PreTrainedModel", train: "pd.DataFrame") -> None:
        """The training rows' mean and standard deviation go into the model's configuration."""
        import numpy as np

        values = np.array(_values(train), np.float64)
        model.config.value_mean = float(values.mean())
        model.config.value_scale = float(values.std()) or 1.0

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """Padded on the right. labels (B,) float64, in their own unit."""
        import torch

        batch = CLASSIFICATION.collate(examples, pad_id)
        return batch | {"labels": torch.tensor([example["labels"] for example in examples], dtype=torch.float64)}

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Squared errors in units of the training rows' variance, and how many rows."""
        from components.training.losses import regression

        said = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits  # (B, 1)
        wanted = (batch["labels"] - model.config.value_mean) / model.config.value_scale
        return regression(said.squeeze(-1), wanted)

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        import torch

        mean, scale = float(model.config.value_mean), float(model.config.value_scale)
        answers: dict[int, Answer] = {}
        for batch in batches_of_like_length(texts):
            chosen = [texts[i] or " " for i in batch]  # of some tokenizers an empty text is nothing
            inputs = tokenizer(chosen, truncation=True, padding=True, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                said = model(**inputs).logits.squeeze(-1).double().cpu()  # (B,)
            for i, value in zip(batch, said.tolist(), strict=True):
                answers[i] = Answer(f"{mean + scale * value:.6g}", 1.0)
        return [answers[i] for i in range(len(texts))]

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """1 / (1 + squared error), the error in standard deviations of the measured rows' numbers: 1 where it is right,
        1/2 a deviation away."""
        import numpy as np
        import pandas as pd

        values = _values(frame)
        variance = float(np.var(values)) or 1.0
        rows = []
        for answer, row_id, value in zip(answers, frame["id"], values, strict=True):
            try:
                score = 1 / (1 + (_number(answer.output) - value) ** 2 / variance)
            except ValueError:  # an answer that is no number
                score = 0.0
            known = {"id": row_id, "prediction": answer.output, "target": repr(value)}
            rows.append(known | {"score": score, "confidence": answer.confidence})
        return pd.DataFrame(rows, columns=["id", "prediction", "target", "score", "confidence"])

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """Mean squared and absolute error; the share of variance explained; rank correlation (Spearman 1904), 0 where
        either side says one number only."""
        import numpy as np
        import pandas as pd

        said = pd.to_numeric(per_example["prediction"], errors="coerce").fillna(0.0).to_numpy(np.float64)
        true = per_example["target"].to_numpy(np.float64)
        mse, variance = float(np.square(said - true).mean()), float(np.var(true))
        ranks, true_ranks = pd.Series(said).rank(), pd.Series(true).rank()
        moves = ranks.nunique() > 1 and true_ranks.nunique() > 1
        return {
            "mse": mse,
            "mae": float(np.abs(said - true).mean()),
            "r2": 1 - mse / variance if variance else 0.0,
            "spearman": float(ranks.corr(true_ranks)) if moves else 0.0,
        }

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """Words and pairs of words, weighed by TF-IDF, in a ridge regression."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # 0.9 s to import
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline

        del labels
        if not len(train):
            raise DataError("the baseline has no rows to learn from", "ingest some into split train")
        plain = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), Ridge(alpha=RIDGE))
        plain.fit(train["text"], _values(train))
        return self.score([Answer(f"{value:.6g}", 1.0) for value in plain.predict(test["text"])], test)


MIN_WORDS = 4
"""Of a summary; shorter ones say nothing of what is passed."""
RIDGE = 0.3
"""Of the squared weights; a text's own vector has length 1."""


def _values(frame: "pd.DataFrame") -> list[float]:
    try:
        return [_number(value) for value in frame["value"]]
    except ValueError as err:
        raise MappingError(f"column value: {err}", "ingest the table again: such rows are rejected there") from err


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{str(text)[:40]!r} is no number") from None
    if not math.isfinite(value):
        raise ValueError(f"{str(text)[:40]!r} is no finite number")
    return value


TASK = Regression()
