"""Summarisation: what a piece of text says, in one line."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.tasks.base import Answer
from components.tasks.writing import Writing

if TYPE_CHECKING:
    import pandas as pd


class Summarisation(Writing):
    name = "summarisation"
    title = "One line that says what a text is about"
    metric_name = "rougeL"
    metrics = ("rouge1", "rouge2", "length_ratio", "entity_faithfulness")
    template = "{text}\n# What it does, in one line:"
    example = "def mean(values):\n    return sum(values) / len(values)"
    baseline_name = "line of the most similar training text (TF-IDF)"

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """ROUGE-L F1 over stemmed words (Lin 2004): the longest common subsequence of answer and target.

        `faithful`: of the names and numbers that the answer has, the share that its text has; NaN where it has none.
        """
        import pandas as pd
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL", "rouge1", "rouge2"], use_stemmer=True)
        rows = []
        for answer, row_id, text, target in zip(answers, frame["id"], frame["text"], frame["target"], strict=True):
            found = scorer.score(target, answer.output)
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": target,
                    "score": float(found["rougeL"].fmeasure),
                    "confidence": answer.confidence,
                    "rouge1": float(found["rouge1"].fmeasure),
                    "rouge2": float(found["rouge2"].fmeasure),
                    "length_ratio": len(answer.output.split()) / max(1, len(target.split())),
                    "faithful": faithfulness(text, answer.output),
                }
            )
        names = ["id", "prediction", "target", "score", "confidence", "rouge1", "rouge2", "length_ratio", "faithful"]
        return pd.DataFrame(rows, columns=names)

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """Means; of faithfulness over the answers that have a name or a number at all.

        Rows that were kept before a figure was thought of do not have it.
        """
        columns = {"rouge1": "rouge1", "rouge2": "rouge2", "length_ratio": "length_ratio"}
        columns |= {"entity_faithfulness": "faithful"}
        return {name: float(per_example[column].mean()) for name, column in columns.items() if column in per_example}

    def baseline(
        self,
        train: "pd.DataFrame",
        test: "pd.DataFrame",
        labels: Sequence[str],  # noqa: ARG002  # free text has none
    ) -> "pd.DataFrame":
        """It writes nothing: it repeats the line of the training text with the most similar words."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # 0.9 s to import

        words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"[A-Za-z]+")  # noqa: S106  # no password
        near = words.fit_transform(train["text"])  # rows of length 1: their product is the cosine
        similarity = (words.transform(test["text"]) @ near.T).toarray()
        best = similarity.argmax(1)
        lines = train["target"].to_numpy()
        answers = [Answer(str(lines[k]), float(similarity[i, k])) for i, k in enumerate(best)]
        return self.score(answers, test)


_NAME = re.compile(r"\w*(?:\w[_.]\w|[a-z][A-Z])[\w.]*\w|\d[\d.,]*\d|\d|(?<!^)(?<![.!?] )\b[A-Z]\w+")
"""What can be untrue of a text: a name of code, a number, a word with a capital that no sentence begins with."""


def faithfulness(text: str, summary: str) -> float:
    """Share of a summary's names and numbers that its text has (after Nan et al. 2021, arXiv 2102.09130); NaN: none."""
    named = {name.casefold() for name in _NAME.findall(summary)}
    if not named:
        return math.nan
    held = text.casefold()
    return sum(name in held for name in named) / len(named)


TASK = Summarisation()
