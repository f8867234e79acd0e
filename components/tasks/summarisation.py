"""Summarisation: what a piece of text says, in one line."""

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
    template = "{text}\n# What it does, in one line:"
    example = "def mean(values):\n    return sum(values) / len(values)"
    baseline_name = "line of the most similar training text (TF-IDF)"

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """ROUGE-L F1 over stemmed words (Lin 2004): the longest common subsequence of answer and target."""
        import pandas as pd
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"], use_stemmer=True)
        rows = [
            {
                "id": row_id,
                "prediction": answer.output,
                "target": target,
                "score": float(scorer.score(target, answer.output)["rougeL"].fmeasure),
                "confidence": answer.confidence,
            }
            for answer, row_id, target in zip(answers, frame["id"], frame["target"], strict=True)
        ]
        return pd.DataFrame(rows, columns=["id", "prediction", "target", "score", "confidence"])

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


TASK = Summarisation()
