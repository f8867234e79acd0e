"""Summarisation: what a piece of text says, in one line."""

import math
import re
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from components.tasks.base import Answer
from components.tasks.spans import SENTENCE
from components.tasks.words import RougeTokenizer, num_words
from components.tasks.writing import Writing

if TYPE_CHECKING:
    import pandas as pd


LONGEST_LEAD = 3
NUM_TRIED = 200
"""Training rows that n is chosen by: a second of work."""


class Summarisation(Writing):
    name = "summarisation"
    title = "One line that says what a text is about"
    metric_name = "rougeL"
    metrics = ("rouge1", "rouge2", "length_ratio", "entity_faithfulness")
    template = "{text}\n# What it does, in one line:"
    example = "def mean(values):\n    return sum(values) / len(values)"
    baseline_name = "lead-n (first sentences, or lines of code)"

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """ROUGE-L F1 over stemmed words (Lin 2004): the longest common subsequence of answer and target.

        Chinese and what else is written without spaces is cut by character. Of several `references` the best counts,
        for each measure by itself, as the reference implementation has it; a table's rows have one.

        `faithful`: of the names and numbers that the answer has, the share that its text has; NaN where it has none.
        """
        import pandas as pd
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL", "rouge1", "rouge2"], tokenizer=RougeTokenizer())
        rows = []
        several = frame["references"] if "references" in frame else [(target,) for target in frame["target"]]
        for answer, row_id, text, target, right in zip(
            answers, frame["id"], frame["text"], frame["target"], several, strict=True
        ):
            found = scorer.score_multi(list(right), answer.output)
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": target,
                    "score": float(found["rougeL"].fmeasure),
                    "confidence": answer.confidence,
                    "rouge1": float(found["rouge1"].fmeasure),
                    "rouge2": float(found["rouge2"].fmeasure),
                    "length_ratio": num_words(answer.output) / max(1, num_words(target)),
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
        """Lead-n: the text's first n ≤ 3 sentences, of code its first lines; n is what scores best on training rows.

        Hard to beat on articles (See et al. 2017, arXiv 1704.04368); and on functions, whose signature it is, better
        than the line of the most similar training text (docs/benchmarks.md).
        """
        tried = train.iloc[:NUM_TRIED]

        def scored(rows: "pd.DataFrame", n: int) -> "pd.DataFrame":
            return self.score([Answer(lead(text, n), 1.0) for text in rows["text"]], rows)

        return scored(test, max(range(1, LONGEST_LEAD + 1), key=lambda n: float(scored(tried, n)["score"].mean())))


def lead(text: str, n: int) -> str:
    """The first n sentences, or lines of code."""
    return " ".join(islice(filter(None, (found[0].strip() for found in SENTENCE.finditer(text))), n))


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
