"""Translation: a text in another language. Of several languages where a text begins with `>>language<<`."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.tasks.base import Answer
from components.tasks.writing import Writing

if TYPE_CHECKING:
    import pandas as pd

NUM_ROUNDS = 8
"""Of expectation-maximisation: IBM model 1 has one maximum, and a small table is there by then."""
MIN_PROBABILITY = 0.1

_MARK = re.compile(r"^>>[\w-]+<<\s*")
_TOKEN = re.compile(r"%\(\w+\)\w|\{\w*\}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[^\w\s]")
_PLACEHOLDER = re.compile(r"%\(\w+\)[-#0 +]*[\d.]*[a-zA-Z]|%[-#0 +]*[\d.]*[sdifgrx]|\{[\w.!:]*\}|<[^<>]+>|&\w+;")
_NUMBER = re.compile(r"(?<![%\w])\d+(?:[.,]\d+)*")


class Translation(Writing):
    name = "translation"
    title = "A text in another language"
    metric_name = "chrf"
    metrics = ("bleu", "corpus_chrf", "placeholders_kept", "numbers_kept", "exact")
    template = "{text}\n# In the other language:"
    example = "Select %(model_name)s to change"
    distinct_texts = False  # one text is put into several languages
    baseline_name = "translation memory + word dictionary (IBM model 1)"

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """Sentence chrF (Popović 2015) of sacrebleu, over 100; whether placeholders and numbers came through.

        `placeholders_kept` and `numbers_kept` are empty where the text has none: a slice each.
        """
        import pandas as pd
        from sacrebleu.metrics.chrf import CHRF

        chrf = CHRF()
        rows = []
        for answer, row_id, text, target in zip(answers, frame["id"], frame["text"], frame["target"], strict=True):
            said = answer.output
            rows.append(
                {
                    "id": row_id,
                    "prediction": said,
                    "target": target,
                    "score": min(1.0, chrf.sentence_score(said, [target]).score / 100),
                    "confidence": answer.confidence,
                    "placeholders_kept": _kept(placeholders(target), placeholders(said)),
                    "numbers_kept": _kept(_NUMBER.findall(target), _NUMBER.findall(said)),
                    "language": (_MARK.match(text) or [""])[0].strip("<> "),
                }
            )
        names = ["id", "prediction", "target", "score", "confidence", "placeholders_kept", "numbers_kept", "language"]
        return pd.DataFrame(rows, columns=names)

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """BLEU (Papineni et al. 2002) and chrF of the whole, in [0, 100], by sacrebleu; Chinese is cut by character.

        BLEU of a table of several languages is the mean of theirs, because each is cut in its own way.
        """
        import math

        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        bleus = []
        for _, part in per_example.groupby("language"):
            tokenize = "zh" if _is_chinese(part["target"]) else "13a"
            said, wanted = list(part["prediction"]), list(part["target"])
            bleus.append((len(part), BLEU(tokenize=tokenize).corpus_score(said, [wanted]).score))
        whole = CHRF().corpus_score(list(per_example["prediction"]), [list(per_example["target"])]).score
        found = {
            "bleu": sum(n * bleu for n, bleu in bleus) / max(1, sum(n for n, _ in bleus)),
            "corpus_chrf": whole,
            "exact": float((per_example["prediction"] == per_example["target"]).mean()),
        }
        for name in ("placeholders_kept", "numbers_kept"):
            having = per_example[name].dropna()
            found[name] = float(having.mean()) if len(having) else math.nan
        return found

    def baseline(
        self,
        train: "pd.DataFrame",
        test: "pd.DataFrame",
        labels: Sequence[str],  # noqa: ARG002  # free text has none
    ) -> "pd.DataFrame":
        """A text that was learned word for word is remembered; of another each word is looked up, in its order.

        The dictionary is learned from the pairs (IBM model 1: Brown et al. 1993); placeholders and unknown words stay.
        """
        memory = dict(zip(train["text"], train["target"], strict=True))
        tables: dict[str, dict[str, tuple[str, float]]] = {}
        for language, part in train.groupby(train["text"].map(_language)):
            tables[str(language)] = dictionary(list(part["text"]), list(part["target"]))
        answers = []
        for text in test["text"]:
            if text in memory:
                answers.append(Answer(memory[text], 1.0))
                continue
            words, sure = [], []
            known = tables.get(_language(text), {})
            for token in _tokens(text):
                word, probability = known.get(token.casefold(), (token, 0.0))
                words.append(token if _is_fixed(token) else word)
                sure.append(probability)
            answers.append(Answer(_joined(words), sum(sure) / max(1, len(sure))))
        return self.score(answers, test)


def placeholders(text: str) -> tuple[str, ...]:
    """What a program fills in or reads: `%(name)s`, `%d`, `{name}`, tags and entities, sorted."""
    return tuple(sorted(_PLACEHOLDER.findall(text)))


def without_placeholders(text: str) -> str:
    """The words around them."""
    return _PLACEHOLDER.sub(" ", text)


def dictionary(sources: Sequence[str], targets: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Source word (case folded) → its likeliest translation and that probability, by IBM model 1.

    Source: Brown et al. 1993, "The mathematics of statistical machine translation", section 4.1; without the empty
    word. Words whose likeliest translation is below `MIN_PROBABILITY` have none.
    """
    pairs = [([w.casefold() for w in _tokens(a)], _tokens(b)) for a, b in zip(sources, targets, strict=True)]
    together: dict[str, dict[str, float]] = defaultdict(dict)
    for left, right in pairs:
        for word in left:
            for other in right:
                together[word][other] = 1.0
    for found in together.values():
        for other in found:
            found[other] = 1 / len(found)
    for _ in range(NUM_ROUNDS):
        expected: dict[str, Counter[str]] = defaultdict(Counter)
        for left, right in pairs:
            for other in right:
                total = sum(together[word][other] for word in left)
                for word in left:
                    expected[word][other] += together[word][other] / total  # type: ignore[assignment]
        for word, counted in expected.items():
            whole = sum(counted.values())
            together[word] = {other: count / whole for other, count in counted.items()}
    best = {word: max(found.items(), key=lambda item: (item[1], item[0])) for word, found in together.items()}
    return {word: found for word, found in best.items() if found[1] >= MIN_PROBABILITY and not _is_fixed(word)}


def _language(text: str) -> str:
    found = _MARK.match(text)
    return found[0].strip() if found else ""


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(_MARK.sub("", text))


def _is_fixed(token: str) -> bool:
    """What no dictionary translates: placeholders, numbers, signs."""
    return not re.search(r"[^\W\d_]", token) or token.startswith(("%(", "{"))


def _joined(words: Sequence[str]) -> str:
    """Words with blanks between, but none before a closing sign nor between Chinese characters."""
    text = " ".join(words)
    text = re.sub(r"\s+([.,;:!?)\]”’»。，！？：；]|%(?![(\w]))", r"\1", re.sub(r"([(\[“«])\s+", r"\1", text))
    return re.sub(r"(?<=[\u3000-\u9fff])\s+(?=[\u3000-\u9fff])", "", text)


def _kept(wanted: Sequence[str], said: Sequence[str]) -> float | None:
    """1 where all that was wanted is there, as often; None where nothing was."""
    return None if not wanted else float(not Counter(wanted) - Counter(said))


def _is_chinese(targets: "pd.Series[str]") -> bool:
    letters = "".join(targets)
    return sum("\u3400" <= c <= "\u9fff" for c in letters) > 0.2 * max(1, len(letters))


TASK = Translation()
