"""Extractive question answering: the piece of a text that answers a question about it, or that none does.

A row's `text` is the question on its first line and the text to look in after it; own files may have them as columns
`question` and `context`. Answers are JSON, and targets a list of those that are right, empty where none is:

    {"answer": "0.85", "start": 61, "end": 65}          {"answer": null}

`start` and `end` count characters of `text`, the end exclusive: `text[start:end]` is the answer. An own file or a
correction may give the answer alone (`0.85`), where the context holds it once, or `no answer`.
"""

import ast
import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypedDict

from components.tasks.base import Answer, ColumnType, Example, FileFormat, RawRow, Task, from_json
from components.tasks.docstrings import docstrings
from components.tasks.spans import SENTENCE, WORD, end_of, located, trimmed, windows
from components.tasks.words import is_unspaced, segmented

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

BATCH_SIZE = 16
"""Windows answered at once, of like length."""
OVERLAP = 64
"""Tokens that two windows of a long context share."""
MAX_ANSWER_TOKENS = 30
"""As in BERT's own SQuAD code."""
NO_ANSWER = "no answer"
NULL = '{"answer": null}'


class Place(TypedDict):
    answer: str
    start: int
    end: int


def read_squad(text: str) -> Iterator[RawRow]:
    """SQuAD's JSON, 1.1 and 2.0 (Rajpurkar et al. 2018); an article is a group.

    Raises:
        ValueError: it is not such a file.
    """
    try:
        articles = from_json(text)["data"]
        paragraphs = [(a.get("title", ""), p["context"], p["qas"]) for a in articles for p in a["paragraphs"]]
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise ValueError(f"it has no data → paragraphs → context and qas ({type(err).__name__}: {err})") from err
    for number, (title, context, questions) in enumerate(paragraphs, start=1):
        for one in questions:
            try:
                text = _text(one["question"], context)
                moved = len(text) - len(context)
                found = [] if one.get("is_impossible") else one["answers"]
                places = [{"answer": a["text"], "start": a["answer_start"] + moved} for a in found]
            except (KeyError, TypeError, AttributeError) as err:
                yield f"paragraph {number}: a question without {err}"
                continue
            yield {"text": text, "answers": json.dumps(places, ensure_ascii=False), "group": title}


def _text(question: str, context: str) -> str:
    return f"{' '.join(question.split())}\n{context}"


def _halves(text: str) -> tuple[str, str]:
    """Question and context. A text of one line is a question about nothing."""
    question, _, context = text.partition("\n")
    return question, context


class QuestionAnswering(Task):
    name = "question_answering"
    title = "Where a text answers a question, if it does"
    columns = ("text", "answers")
    column_types: Mapping[str, ColumnType] = {"answers": "json"}
    parts = ("question", "context")
    formats = (FileFormat("squad", (".squad",), read_squad),)
    metric_name = "f1"
    metrics = ("exact_match", "answerability", "f1_answerable", "f1_unanswerable")
    head = "span"
    template = "{text}"
    example = (
        "What is the default of alpha?\n"
        "G : graph. A directed graph. alpha : float, optional. Damping parameter, default=0.85. max_iter : int"
    )
    baseline_name = "sentence with the most words of the question"
    distinct_texts = False

    def join(self, parts: Mapping[str, str]) -> str:
        return _text(parts["question"], parts["context"])

    def fit(self, text: str, target: str) -> str:
        """A list of places in the context; a single place, an answer alone and `no answer` become one."""
        context = len(text) - len(_halves(text)[1])
        if not text[context:].strip():
            raise ValueError("no text after the question's line to find an answer in")
        try:
            given = from_json(target)
        except ValueError:
            given = target
        if not isinstance(given, list | dict) and given is not None:
            given = target if not isinstance(given, str) else given  # 0.50 is text
            if given.strip().casefold() == NO_ANSWER and NO_ANSWER not in text[context:].casefold():
                given = None
        if given is None or (isinstance(given, dict) and given.get("answer", "") is None):
            given = []
        places: list[Place] = []
        for one in given if isinstance(given, list) else [given]:
            place = _fitted(text, one, context)
            if place not in places:
                places.append(place)
        return json.dumps(places, ensure_ascii=False)

    def gold(self, code: ast.Module) -> Iterator[tuple[str, str]]:
        """Defaults and types that numpydoc's parameter lists state, and questions whose answer they do not state."""
        for docstring in docstrings(code):
            yield from questions_of(docstring)

    def rows(
        self,
        frame: "pd.DataFrame",
        tokenizer: "PreTrainedTokenizerBase",
        recipe: "Finetune",  # noqa: ARG002  # its length is the tokenizer's
        labels: Sequence[str],  # noqa: ARG002  # there are none
    ) -> list[Example]:
        """One example a window: first and last token of the first right answer, or 0, 0 where it holds none whole."""
        texts = list(frame["text"])
        found, of_text, moved = _windows(tokenizer, texts)
        examples: list[Example] = []
        for i, k in enumerate(of_text):
            places = from_json(frame["answers"].iloc[k])
            ends = [0, 0]
            if places:
                tokens = _inside(found, i, places[0]["start"] - moved[k], places[0]["end"] - moved[k])
                ends = list(tokens) if tokens else ends
            examples.append({"input_ids": found["input_ids"][i], "labels": ends, "allowed": _allowed(found, i)})
        return examples

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """Padded on the right. labels (B, 2): first and last token; `allowed` (B, T): where an answer may lie."""
        import torch

        length = max(len(example["input_ids"]) for example in examples)
        ids = torch.full((len(examples), length), pad_id)
        mask = torch.zeros_like(ids)
        allowed = torch.zeros_like(ids)
        for i, example in enumerate(examples):
            n = len(example["input_ids"])
            ids[i, :n], mask[i, :n] = torch.tensor(example["input_ids"]), 1
            allowed[i, :n] = torch.tensor(example["allowed"])
        labels = torch.tensor([example["labels"] for example in examples])
        return {"input_ids": ids, "attention_mask": mask, "allowed": allowed, "labels": labels}

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        summed = torch.zeros((), device=batch["input_ids"].device)
        for side, logits in enumerate(_logits(model, batch)):  # (B, T)
            summed = summed + torch.nn.functional.cross_entropy(logits, batch["labels"][:, side], reduction="sum")
        return summed, torch.tensor(2 * len(batch["labels"]))

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        """The likeliest span of all windows; none where every window is surer of that (Devlin et al. 2019, §4.3).

        The confidence is the product of the probabilities of its first and its last token.
        """
        import torch

        found, of_text, moved = _windows(tokenizer, texts)
        spans: list[tuple[float, float, int, int]] = [(-1e9, 0.0, 0, 0)] * len(texts)
        nulls: list[tuple[float, float]] = [(1e9, 1.0)] * len(texts)
        order = [i for i in range(len(of_text)) if found["input_ids"][i]]  # of some tokenizers an empty text is nothing
        order.sort(key=lambda i: (len(found["input_ids"][i]), i))
        for at in range(0, len(order), BATCH_SIZE):
            batch = order[at : at + BATCH_SIZE]
            examples = [
                {"input_ids": found["input_ids"][i], "labels": [0, 0], "allowed": _allowed(found, i)} for i in batch
            ]
            inputs = self.collate(examples, int(tokenizer.pad_token_id or 0))
            with torch.inference_mode():
                first, last = _logits(model, {name: tensor.to(model.device) for name, tensor in inputs.items()})
            for row, i in enumerate(batch):
                k = of_text[i]
                score, p, begin, end = _best_span(first[row].cpu(), last[row].cpu())
                if score > spans[k][0]:
                    offsets = found["offset_mapping"][i]
                    spans[k] = (score, p, offsets[begin][0] + moved[k], offsets[end][1] + moved[k])
                null = float(first[row, 0] + last[row, 0])
                p_null = float(first[row].softmax(-1)[0] * last[row].softmax(-1)[0])
                nulls[k] = min(nulls[k], (null, p_null))
        answers = []
        for text, (score, p, begin, end), (null, p_null) in zip(texts, spans, nulls, strict=True):
            begin, end = trimmed(text, begin, end)
            if score <= null or begin >= end:
                answers.append(Answer(NULL, p_null))
            else:
                place = Place(answer=text[begin:end], start=begin, end=end)
                answers.append(Answer(json.dumps(place, ensure_ascii=False), p))
        return answers

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """F1 and exact match of the words, against the nearest right answer, as SQuAD 2.0's own script has them.

        Letters are made small; punctuation, `a`, `an`, `the` and surplus spaces go; what is written without spaces is
        cut by character. Where nothing is right, saying so scores 1 and anything else 0.
        """
        import pandas as pd

        rows = []
        for answer, row_id, target in zip(answers, frame["id"], frame["answers"], strict=True):
            said = _said(answer.output)
            right = [one["answer"] for one in from_json(target)] or [""]
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": target,
                    "score": max(f1(said, one) for one in right),
                    "confidence": answer.confidence,
                    "exact": float(any(is_same(said, one) for one in right)),
                    "is_answerable": right != [""],
                    "is_answered": bool(said),
                }
            )
        names = ["id", "prediction", "target", "score", "confidence", "exact", "is_answerable", "is_answered"]
        return pd.DataFrame(rows, columns=names)

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """`answerability`: how often it is right about there being an answer. F1 apart, where either kind occurs."""
        can, does = per_example["is_answerable"].astype(bool), per_example["is_answered"].astype(bool)
        found = {"exact_match": float(per_example["exact"].mean()), "answerability": float((can == does).mean())}
        if can.any():
            found["f1_answerable"] = float(per_example.loc[can, "score"].mean())
        if not can.all():
            found["f1_unanswerable"] = float(per_example.loc[~can, "score"].mean())
        return found

    def baseline(
        self,
        train: "pd.DataFrame",
        test: "pd.DataFrame",
        labels: Sequence[str],  # noqa: ARG002  # there are none
    ) -> "pd.DataFrame":
        """The context's sentence that shares most with the question, rare words of the training texts counting more.

        It says that there is no answer where no sentence shares a word.
        """
        import math

        in_texts = Counter(word for text in train["text"] for word in {*_words(text)})
        weight = {word: math.log(1 + len(train) / number) for word, number in in_texts.items()}
        rare = math.log(2 + 2 * len(train))
        answers = []
        for text in test["text"]:
            question, context = _halves(text)
            asked = {*_words(question)}
            at = len(text) - len(context)
            whole = sum(weight.get(word, rare) for word in asked) or 1.0
            best = (0.0, 0, 0)
            for sentence in SENTENCE.finditer(context):
                shared = sum(weight.get(word, rare) for word in asked & {*_words(sentence[0])})
                best = max(best, (shared / whole, -(sentence.start() + at), sentence.end() + at))
            start, end = trimmed(text, -best[1], best[2])
            place = Place(answer=text[start:end], start=start, end=end)
            said = json.dumps(place, ensure_ascii=False) if best[0] and start < end else NULL
            answers.append(Answer(said, best[0] if best[0] else 1.0))
        return self.score(answers, test)


# ---------------------------------------------------------------- SQuAD's measures

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """What two answers must share to be the same (SQuAD 2.0's script)."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def f1(said: str, right: str) -> float:
    """Of the words, with their numbers; where either is nothing, 1 if both are."""
    a, b = _both_as_words(said, right)
    if not a or not b:
        return float(a == b)
    shared = (Counter(a) & Counter(b)).total()
    return 2 * shared / (len(a) + len(b))


def is_same(said: str, right: str) -> bool:
    """An exact match."""
    a, b = _both_as_words(said, right)
    return a == b


def _both_as_words(said: str, right: str) -> tuple[list[str], list[str]]:
    """Both as words; by MLQA's rules for Chinese (Lewis et al. 2020), without articles, where either is unspaced."""
    if is_unspaced(said + right):
        return segmented(_without_marks(said.lower())), segmented(_without_marks(right.lower()))
    return normalised(said).split(), normalised(right).split()


def _without_marks(text: str) -> str:
    return "".join(one for one in text if one not in string.punctuation and unicodedata.category(one)[0] != "P")


def _said(output: str) -> str:
    try:
        found = from_json(output)
    except ValueError:
        return output
    return str(found.get("answer") or "") if isinstance(found, dict) else output


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


# ---------------------------------------------------------------- places and tokens


def _fitted(text: str, given: Any, context: int) -> Place:
    if isinstance(given, str):
        given = {"answer": given}
    if not isinstance(given, dict) or not isinstance(given.get("answer"), str):
        raise ValueError('an answer is text, or JSON: {"answer": "…", "start": 61}')
    near = given.get("start")
    inside = None if not isinstance(near, int) or isinstance(near, bool) else near - context
    if inside is not None and inside < 0:
        raise ValueError(f"start {near} is in the question")
    start = located(text[context:], given["answer"], near=inside) + context
    end = end_of(text, given["answer"], start)
    return Place(answer=text[start:end], start=start, end=end)


def _windows(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> tuple[Any, list[int], list[int]]:
    """Windows of question and context; which text each is of; where each text's context begins."""
    halves = [_halves(text) for text in texts]
    room = int(tokenizer.model_max_length) // 2
    questions = [question for question, _ in halves]
    cut = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    questions = [
        question[: offsets[room - 1][1]] if len(offsets) > room else question
        for question, offsets in zip(questions, cut, strict=True)
    ]
    found, of_text = windows(tokenizer, questions, [context for _, context in halves], stride=OVERLAP)
    return found, of_text, [len(text) - len(context) for text, (_, context) in zip(texts, halves, strict=True)]


def _allowed(found: Any, window: int) -> list[int]:
    """1 where an answer may lie: in the context, and at the first token, which means that there is none."""
    return [int(i == 0 or part == 1) for i, part in enumerate(found.sequence_ids(window))]


def _inside(found: Any, window: int, start: int, end: int) -> tuple[int, int] | None:
    """First and last token of the context's characters from `start` to `end`, if the window holds them whole."""
    tokens = [
        i
        for i, (part, (a, b)) in enumerate(
            zip(found.sequence_ids(window), found["offset_mapping"][window], strict=True)
        )
        if part == 1 and a < end and start < b
    ]
    if not tokens:
        return None
    offsets = found["offset_mapping"][window]
    is_whole = offsets[tokens[0]][0] <= start and end <= offsets[tokens[-1]][1]
    return (tokens[0], tokens[-1]) if is_whole else None


def _logits(model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]") -> "tuple[torch.Tensor, torch.Tensor]":
    """(B, T) float32 of first and last token; minus infinity where no answer may lie."""
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    nowhere = batch["allowed"] == 0
    first, last = (logits.float().masked_fill(nowhere, float("-inf")) for logits in (out.start_logits, out.end_logits))
    return first, last


def _best_span(first: "torch.Tensor", last: "torch.Tensor") -> tuple[float, float, int, int]:
    """Sum of logits, probability, first and last token of the likeliest span that is not the null answer. (T,) each."""
    import torch

    if len(first) < 2:
        return -1e9, 0.0, 0, 0
    sums = (first[1:, None] + last[None, 1:]).triu().tril(MAX_ANSWER_TOKENS - 1)
    outside = torch.ones_like(sums).triu().tril(MAX_ANSWER_TOKENS - 1) == 0
    sums = sums.masked_fill(outside | sums.isnan(), float("-inf"))
    k = int(sums.argmax())
    begin, end = k // sums.shape[1] + 1, k % sums.shape[1] + 1
    score = float(sums[begin - 1, end - 1])
    if score == float("-inf"):
        return -1e9, 0.0, 0, 0
    return score, float(first.softmax(-1)[begin] * last.softmax(-1)[end]), begin, end


# ---------------------------------------------------------------- gold by construction

_SECTION = re.compile(r"^Parameters\n-{3,}\n(?P<body>.*?)(?=^\w[^\n]*\n-{3,}$|\Z)", re.M | re.S)
_PARAMETER = re.compile(r"^(?P<name>[A-Za-z_]\w*) ?: ?(?P<spec>\S[^\n]*)$", re.M)
_DEFAULT = re.compile(r"\b[Dd]efault(?:s to| value is| is|s)?\s*[=:]?\s*(?P<value>'[^'\n]+'|\"[^\"\n]+\"|-?[\w.+-]*\w)")
_KIND = re.compile(r"(?P<kind>[A-Za-z][\w .-]*\w)\s*(?=,|\(|$)")
_NO_VALUE = {"is", "to", "the", "a", "an", "value", "of", "behavior", "behaviour", "will", "for", "in", "and", "it"}
MAX_OF_ONE = {"default": 2, "type": 1, "none": 1}
"""Questions of each kind a docstring, so that no long one makes most of a table; to the last there is no answer."""
_STATED = re.compile(r"(?i)default|optional|none|=|omitted|not given")
"""What a parameter's text may say a default by, in whatever words."""


def questions_of(docstring: str) -> Iterator[tuple[str, str]]:
    """Questions about the parameter list of one docstring: (text, answers) as rows hold them."""
    section = _SECTION.search(docstring)
    context = re.sub(r"`+|\*{2}", "", section["body"]).strip() if section else ""
    heads = list(_PARAMETER.finditer(context))
    if len(heads) < 2 or len({head["name"] for head in heads}) < len(heads) or "%(" in context:
        return
    asked: Counter[str] = Counter()
    for head, after in zip_longest(heads, heads[1:]):
        block = context[head.start("spec") : after.start() if after else len(context)]
        question = f"What is the default of {head['name']}?"
        value = next((one for one in _DEFAULT.finditer(block) if one["value"].casefold() not in _NO_VALUE), None)
        if value and asked["default"] < MAX_OF_ONE["default"]:
            asked["default"] += 1
            yield _pair(question, context, head.start("spec") + value.start("value"), value["value"])
        elif (kind := _KIND.match(head["spec"])) and asked["type"] < MAX_OF_ONE["type"]:
            asked["type"] += 1
            start = head.start("spec") + kind.start("kind")
            yield _pair(f"What type is {head['name']}?", context, start, kind["kind"])
        elif asked["none"] < MAX_OF_ONE["none"] and not _STATED.search(block):
            asked["none"] += 1
            yield _text(question, context), "[]"


def _pair(question: str, context: str, start: int, answer: str) -> tuple[str, str]:
    text = _text(question, context)
    moved = len(text) - len(context)
    place = Place(answer=answer, start=start + moved, end=start + moved + len(answer))
    return text, json.dumps([place], ensure_ascii=False)


TASK = QuestionAnswering()
