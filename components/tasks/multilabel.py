"""Multi-label classification: which of a table's labels a text deserves, of which there may be several or none.

Targets and answers are a JSON list of labels, sorted: `["loops", "returns"]`, `[]`. An own file or a correction may
have them between commas, semicolons or bars instead, or one label alone.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.data.cleaning import clean_prose, strip_markup
from components.errors import MappingError
from components.tasks.base import Answer, ColumnType, Example, from_json
from components.tasks.classification import Classification, batches_of_like_length

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

THRESHOLD = 0.5
"""From this probability on a label is said, where the model has none of its own."""
_BETWEEN = re.compile(r"\s*[,;|]\s*")


class MultiLabel(Classification):
    name = "multilabel"
    title = "Which labels belong to a text, several or none"
    columns = ("text", "labels")
    column_types: Mapping[str, ColumnType] = {"text": "line", "labels": "json"}
    metric_name = "example_f1"
    metrics = ("micro_f1", "macro_f1", "exact_match", "hamming_loss")
    example = "Return every node that can be reached, or raise an error if there is a cycle."
    baseline_name = "TF-IDF + a logistic regression a label"

    def fit(self, text: str, target: str) -> str:
        """A sorted list without repetitions."""
        del text
        try:
            given = from_json(target)
        except ValueError:
            given = target
        if not isinstance(given, list | dict):  # a label may be a number
            given = [piece for piece in _BETWEEN.split(target.strip()) if piece]
        if not isinstance(given, list) or not all(isinstance(one, str) and one.strip() for one in given):
            raise ValueError('labels are a JSON list, ["a", "b"], or stand between commas')
        if wrong := next((one for one in given if _BETWEEN.search(one) or "\n" in one), None):
            raise ValueError(f"a label holds no comma, semicolon or bar: {wrong[:40]!r}")
        return _json(given)

    def labels(self, targets: Sequence[str]) -> set[str]:
        return {label for target in targets for label in parsed(target)}

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        """`labels`: 1.0 for each that the text has, 0.0 for the others."""
        if unknown := sorted(self.labels(list(frame["labels"])) - set(labels)):
            raise MappingError(f"labels {unknown} are not the table's", f"its labels are: {', '.join(labels)}")
        ids = tokenizer(list(frame["text"]), truncation=True, max_length=recipe.max_length_tokens)["input_ids"]
        has = [parsed(target) for target in frame["labels"]]
        return [
            {"input_ids": row, "labels": [float(label in own) for label in labels]}
            for row, own in zip(ids, has, strict=True)
        ]

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Binary cross-entropy over every label of every text. labels (B, K)."""
        import torch

        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits  # (B, K)
        wanted = batch["labels"].float()
        summed = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum")
        return summed, torch.tensor(logits.numel())

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        """Every label above its threshold. The confidence is the probability of just this set, label by label."""
        names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
        least: dict[str, float] = getattr(model.config, "thresholds", None) or {}
        answers = []
        for row in _probabilities(model, tokenizer, texts):
            said = [names[k] for k, p in enumerate(row) if p >= least.get(names[k], THRESHOLD)]
            ranked = tuple(sorted(((names[k], p) for k, p in enumerate(row)), key=lambda one: (-one[1], one[0])))
            confidence = 1.0
            for name, p in ranked:
                confidence *= p if name in said else 1 - p
            answers.append(Answer(_json(said), confidence, ranked))
        return answers

    def settle(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", held_out: "pd.DataFrame") -> None:
        """Each label's threshold is the one with the best F1 on held-out rows (Fan and Lin 2007); 0.5 without any."""
        names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
        rows = _probabilities(model.eval(), tokenizer, list(held_out["text"]))
        has = [parsed(target) for target in held_out["labels"]]
        found: dict[str, float] = {}
        for k, name in names.items():
            right = [name in own for own in has]
            if not any(right):
                continue
            tried = [step / 20 for step in range(2, 19)]
            scores = {t: _f1([row[int(k)] >= t for row in rows], right) for t in tried}
            best = max(scores.values())
            found[name] = sorted((abs(t - THRESHOLD), t) for t in tried if scores[t] == best)[0][1]
        model.config.thresholds = found

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """F1 of each text's labels; 1 where it has none and none is said."""
        import pandas as pd

        rows = []
        for answer, row_id, target in zip(answers, frame["id"], frame["labels"], strict=True):
            said, true = parsed(answer.output), parsed(target)
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": target,
                    "score": 2 * len(said & true) / (len(said) + len(true)) if said or true else 1.0,
                    "confidence": answer.confidence,
                    "num_labels": len(answer.alternatives) or len(said | true) or 1,
                }
            )
        return pd.DataFrame(rows, columns=["id", "prediction", "target", "score", "confidence", "num_labels"])

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """F1 over all labels of all texts, and its mean over the labels; texts without a mistake; wrong labels' share.

        As scikit-learn's `f1_score` (micro, macro) and `hamming_loss`.
        """
        counts: dict[str, list[int]] = {}
        wrong = exact = 0
        for said_, true_ in zip(per_example["prediction"], per_example["target"], strict=True):
            said, true = parsed(said_), parsed(true_)
            exact += said == true
            wrong += len(said ^ true)
            for label in said | true:
                count = counts.setdefault(label, [0, 0, 0])
                count[0] += label in said and label in true
                count[1] += label in said
                count[2] += label in true
        ratio = [2 * both / (said + true) for both, said, true in counts.values()]
        both, said_all, true_all = (sum(count[i] for count in counts.values()) for i in range(3))
        return {
            "micro_f1": 2 * both / (said_all + true_all) if said_all + true_all else 1.0,
            "macro_f1": sum(ratio) / len(ratio) if ratio else 1.0,
            "exact_match": exact / len(per_example),
            "hamming_loss": wrong / max(1, int(per_example["num_labels"].sum())),
        }

    def baseline(self, train: "pd.DataFrame", test: "pd.DataFrame", labels: Sequence[str]) -> "pd.DataFrame":
        """Words and pairs of words by TF-IDF, and for each label a logistic regression of its own."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # 0.9 s to import
        from sklearn.linear_model import LogisticRegression

        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
        known, asked = words.fit_transform(train["text"]), words.transform(test["text"])
        has = [parsed(target) for target in train["labels"]]
        columns: list[tuple[str, list[float]]] = []
        for label in labels:
            own = [label in one for one in has]
            if len(set(own)) < 2:  # nothing to learn: all of them have it, or none
                columns.append((label, [float(own[0] if own else False)] * len(test)))
                continue
            plain = LogisticRegression(C=10, max_iter=1000).fit(known, own)
            columns.append((label, [float(p) for p in plain.predict_proba(asked)[:, 1]]))
        answers = []
        for i in range(len(test)):
            row = [(label, ps[i]) for label, ps in columns]
            said = [label for label, p in row if p >= THRESHOLD]
            sure = min((max(p, 1 - p) for _, p in row), default=1.0)
            answers.append(Answer(_json(said), sure, tuple(sorted(row, key=lambda one: -one[1]))))
        return self.score(answers, test)

    def gold(self, code: ast.Module) -> Iterator[tuple[str, str]]:
        """A function's description, and what its body does: branches, loops, raises, returns a value, yields."""
        for node in ast.walk(code):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text = strip_markup(clean_prose((ast.get_docstring(node) or "").partition("\n\n")[0]))
            if len(text.split()) >= MIN_WORDS:
                does = {DOES[type(part)] for part in _body(node) if type(part) in DOES and not _is_bare(part)}
                yield text, _json(sorted(does))


MIN_WORDS = 5
DOES: Mapping[type, str] = {
    ast.If: "branches", ast.IfExp: "branches", ast.For: "loops", ast.AsyncFor: "loops", ast.While: "loops",
    ast.comprehension: "loops", ast.Raise: "raises", ast.Return: "returns", ast.Yield: "yields",
    ast.YieldFrom: "yields",
}  # fmt: skip


def _body(node: ast.AST) -> Iterator[ast.AST]:
    """All that a function's own body holds: what is in a function or class inside it is not its."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            yield from _body(child)


def _is_bare(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) and node.value is None


def parsed(target: str) -> frozenset[str]:
    """The labels of a target or an answer; none of what is neither."""
    try:
        found: Any = from_json(target)
    except ValueError:
        return frozenset()
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()


def _json(labels: Sequence[str]) -> str:
    return json.dumps(sorted({label.strip() for label in labels}), ensure_ascii=False)


def _f1(said: Sequence[bool], right: Sequence[bool]) -> float:
    both = sum(a and b for a, b in zip(said, right, strict=True))
    return 2 * both / (sum(said) + sum(right))


def _probabilities(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
) -> list[list[float]]:
    """Per text: each label's probability, in the model's order."""
    import torch

    found: list[list[float]] = [[] for _ in texts]
    for batch in batches_of_like_length(texts):
        chosen = [texts[i] or " " for i in batch]  # of some tokenizers an empty text is nothing
        inputs = tokenizer(chosen, truncation=True, padding=True, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            rows = model(**inputs).logits.float().sigmoid().cpu().tolist()  # (B, K)
        for i, row in zip(batch, rows, strict=True):
            found[i] = row
    return found


TASK = MultiLabel()
