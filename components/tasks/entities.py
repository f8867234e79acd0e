"""Named entities: which spans of a text are of which type.

Targets and answers are JSON, in the order of the text, no two overlapping:

    [{"start": 9, "end": 15, "text": "pandas", "type": "library"}]

`start` and `end` count characters, the end exclusive. An own file or a correction may leave out `start` and `end` where
the text occurs once, or `text` where they are given; what does not match the row's text is rejected, and says why.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

from components.errors import MappingError
from components.tasks.base import IGNORED, Answer, ColumnType, Example, FileFormat, RawRow, Task, from_json
from components.tasks.docstrings import docstrings
from components.tasks.spans import WORD, end_of, located, trimmed, windows

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from components.recipes import Finetune

BATCH_SIZE = 32
"""Windows answered at once, of like length."""
OVERLAP = 32
"""Tokens that two windows of a long text share: a word is read where it has more around it."""
OUTSIDE = "O"


class Span(TypedDict):
    start: int
    end: int
    text: str
    type: str


def read_iob2(text: str) -> Iterator[RawRow]:
    """CoNLL's columns: a token and, last, its tag a line; an empty line ends a sentence. Of tags, IOB1 is read too.

    Of several annotations in one tag (`B-person,B-product`) the first is taken.
    """
    sentence: list[tuple[str, str]] = []
    wrong = ""
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            if line.startswith("-DOCSTART-"):
                continue
            cells = line.split("\t") if "\t" in line else line.split()
            token, tag = cells[0].strip(), cells[-1].strip().partition(",")[0]
            if len(cells) < 2 or not token or not re.fullmatch(r"O|[BI]-\S+", tag):
                wrong = wrong or f"line {number}: {line[:40]!r} is no token with an IOB2 tag"
            sentence.append((token, tag))
            continue
        if wrong:
            yield wrong
        elif sentence:
            yield _joined(sentence)
        sentence, wrong = [], ""


def _joined(sentence: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Tokens with one space between them, their tags as spans."""
    spans: list[Span] = []
    before = OUTSIDE
    at = 0
    for token, tag in sentence:
        if tag.startswith("B-") or (tag.startswith("I-") and before[2:] != tag[2:]):
            spans.append(Span(start=at, end=at + len(token), text="", type=tag[2:]))
        elif tag != OUTSIDE:
            spans[-1]["end"] = at + len(token)
        before, at = tag, at + len(token) + 1
    text = " ".join(token for token, _ in sentence)
    return {"text": text, "entities": _json([_span(text, one["start"], one["end"], one["type"]) for one in spans])}


class Entities(Task):
    name = "entities"
    title = "Which spans of a text name what"
    columns = ("text", "entities")
    column_types: Mapping[str, ColumnType] = {"entities": "json"}
    formats = (FileFormat("iob2", (".conll", ".iob2", ".iob"), read_iob2),)
    metric_name = "example_f1"
    metrics = ("entity_f1", "entity_precision", "entity_recall", "exact_match")
    head = "tagger"
    template = "{text}"
    example = "Raises ValueError if the Graph has a cycle, as found by networkx."
    baseline_name = "gazetteer of the training rows"

    def fit(self, text: str, target: str) -> str:
        """Spans moved to where their text stands now, if masking or cleaning moved it."""
        try:
            given = from_json(target)
        except ValueError:
            raise ValueError('spans are a JSON list: [{"text": "…", "type": "…"}]') from None
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise ValueError('spans are a JSON list: [{"text": "…", "type": "…"}]')
        spans: list[Span] = []
        for one in sorted(given, key=lambda one: one["start"] if _is_place(one.get("start")) else -1):
            found = _fitted(text, one, taken={(span["start"], span["end"]) for span in spans})
            if found not in spans:
                spans.append(found)
        spans.sort(key=lambda span: (span["start"], span["end"]))
        for span, after in pairwise(spans):
            if after["start"] < span["end"]:
                raise ValueError(f"spans {span['text'][:40]!r} and {after['text'][:40]!r} overlap")
        return _json(spans)

    def labels(self, targets: Sequence[str]) -> set[str]:
        """The types that occur."""
        return {span["type"] for target in targets for span in _parsed(target)}

    def gold(self, code: ast.Module) -> Iterator[tuple[str, str]]:
        """Paragraphs of docstrings in which Sphinx roles (`:class:`, `:func:` …) say what a name is of."""
        for docstring in docstrings(code):
            for paragraph in re.split(r"\n\s*\n", docstring):
                if pair := _without_roles(paragraph):
                    yield pair

    def outputs(self, labels: Sequence[str]) -> list[str]:
        """IOB2: outside, and of each type its first word and the others (Tjong Kim Sang and Veenstra 1999)."""
        return [OUTSIDE, *(f"{mark}-{label}" for label in labels for mark in "BI")]

    def rows(
        self, frame: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", recipe: "Finetune", labels: Sequence[str]
    ) -> list[Example]:
        """One example a window. The first token of a word carries its tag, the others no loss (Devlin et al. 2019)."""
        del recipe  # its length is the tokenizer's
        number = {tag: i for i, tag in enumerate(self.outputs(labels))}
        if unknown := sorted(self.labels(list(frame["entities"])) - set(labels)):
            raise MappingError(f"types {unknown} are not the table's", f"its types are: {', '.join(labels)}")
        texts, targets = list(frame["text"]), [_parsed(target) for target in frame["entities"]]
        found, of_text = windows(tokenizer, texts, stride=OVERLAP)
        words = _words(found, of_text, texts)
        examples: list[Example] = []
        for i, k in enumerate(of_text):
            if not words[k]:  # spaces alone: nothing to tag
                continue
            tags = [IGNORED] * len(found["input_ids"][i])
            for word, position in _first_tokens(found, i, words[k]).items():
                tags[position] = number[_tag_of(words[k][word], targets[k])]
            examples.append({"input_ids": found["input_ids"][i], "labels": tags})
        return examples

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """Padded on the right. labels (B, T)."""
        import torch

        length = max(len(example["input_ids"]) for example in examples)
        ids = torch.full((len(examples), length), pad_id)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, IGNORED)
        for i, example in enumerate(examples):
            n = len(example["input_ids"])
            ids[i, :n], mask[i, :n] = torch.tensor(example["input_ids"]), 1
            labels[i, :n] = torch.tensor(example["labels"])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def loss(
        self, model: "PreTrainedModel", batch: "Mapping[str, torch.Tensor]"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits  # (B, T, tags)
        chosen = batch["labels"] != IGNORED
        summed = torch.nn.functional.cross_entropy(logits[chosen].float(), batch["labels"][chosen], reduction="sum")
        return summed, chosen.sum()

    def answer(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]
    ) -> list[Answer]:
        """The likeliest tag a word, then spans of them.

        The confidence is that of the least sure span (mean over its words), or of the least sure word if none is found.
        """
        import torch

        names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
        found, of_text = windows(tokenizer, texts, stride=OVERLAP)
        words = _words(found, of_text, texts)
        best: list[dict[int, tuple[int, str, float]]] = [{} for _ in texts]
        order = [i for i in range(len(of_text)) if found["input_ids"][i]]  # of some tokenizers an empty text is nothing
        order.sort(key=lambda i: (len(found["input_ids"][i]), i))
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            inputs = tokenizer.pad(
                {name: [found[name][i] for i in batch] for name in ("input_ids", "attention_mask")},
                padding_side="right",
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                p, tag = model(**inputs).logits.float().softmax(-1).max(-1)  # (B, T)
            for row, i in enumerate(batch):
                length = len(found["input_ids"][i])
                for word, position in _first_tokens(found, i, words[of_text[i]]).items():
                    context = min(position, length - 1 - position)
                    said = (context, names[int(tag[row, position])], float(p[row, position]))
                    best[of_text[i]][word] = max(best[of_text[i]].get(word, (-1, OUTSIDE, 0.0)), said)
        return [_answer(text, words[k], best[k]) for k, text in enumerate(texts)]

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """F1 of each text's spans, 1 where there are none and none is said; a span is right in both ends and type."""
        import pandas as pd

        rows = []
        for answer, row_id, text, target in zip(answers, frame["id"], frame["text"], frame["entities"], strict=True):
            said, true = chunks(text, _parsed(answer.output)), chunks(text, _parsed(target))
            hits = len(said & true)
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": target,
                    "score": 2 * hits / (len(said) + len(true)) if said or true else 1.0,
                    "confidence": answer.confidence,
                    "num_right": hits,
                    "num_said": len(said),
                    "num_true": len(true),
                }
            )
        names = ["id", "prediction", "target", "score", "confidence", "num_right", "num_said", "num_true"]
        return pd.DataFrame(rows, columns=names)

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """Over all spans of all texts, as seqeval counts them; and the share of texts without a mistake."""
        right, said, true = (float(per_example[name].sum()) for name in ("num_right", "num_said", "num_true"))
        return {
            "entity_f1": 2 * right / (said + true) if said + true else 1.0,
            "entity_precision": right / said if said else 0.0,
            "entity_recall": right / true if true else 0.0,
            "exact_match": float((per_example["score"] == 1).mean()),
        }

    def baseline(
        self,
        train: "pd.DataFrame",
        test: "pd.DataFrame",
        labels: Sequence[str],  # noqa: ARG002  # the rows' own
    ) -> "pd.DataFrame":
        """Names that were entities in most places of the training texts, wherever they stand; the longest first."""
        kinds: dict[str, Counter[str]] = {}
        for target in train["entities"]:
            for span in _parsed(target):
                kinds.setdefault(span["text"], Counter())[span["type"]] += 1
        longest = max((len(WORD.findall(name)) for name in kinds), default=0)
        seen: Counter[str] = Counter()
        for text in train["text"]:
            seen.update(piece for _, _, piece in _pieces(text, longest) if piece in kinds)
        known = {name: (types.most_common(1)[0][0], types.total() / max(seen[name], types.total()))
                 for name, types in kinds.items() if 2 * types.total() >= seen[name]}  # fmt: skip
        answers = []
        for text in test["text"]:
            spans: list[Span] = []
            sure = 1.0
            for start, end, piece in sorted(_pieces(text, longest), key=lambda piece: (piece[0], -piece[1])):
                if piece in known and (not spans or start >= spans[-1]["end"]):
                    spans.append(_span(text, start, end, known[piece][0]))
                    sure = min(sure, known[piece][1])
            answers.append(Answer(_json(spans), sure))
        return self.score(answers, test)


# ---------------------------------------------------------------- spans


def _json(spans: Sequence[Span]) -> str:
    return json.dumps(spans, ensure_ascii=False)


def _parsed(target: str) -> list[Span]:
    """The spans of a target or an answer; none of what is neither."""
    try:
        found = from_json(target)
    except ValueError:
        return []
    return [one for one in found if _is_span(one)] if isinstance(found, list) else []


def _is_span(one: object) -> TypeGuard[Span]:
    if not isinstance(one, dict) or not isinstance(one.get("type"), str):
        return False
    start, end = one.get("start"), one.get("end")
    return _is_place(start) and _is_place(end) and start < end


def _span(text: str, start: int, end: int, kind: str) -> Span:
    return Span(start=start, end=end, text=text[start:end], type=kind)


def _is_place(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _fitted(text: str, given: Mapping[str, Any], *, taken: set[tuple[int, int]]) -> Span:
    kind = given.get("type")
    if not isinstance(kind, str) or not kind.strip() or kind.split() != [kind]:
        raise ValueError(f"a span needs a type of one word, not {kind!r}")
    start, end, piece = given.get("start"), given.get("end"), given.get("text")
    if piece is None:
        if not (_is_place(start) and _is_place(end) and start < end <= len(text) and text[start:end].strip()):
            raise ValueError(f"no span from {start} to {end} in a text of {len(text)} characters")
        start, end = trimmed(text, start, end)
        return _span(text, start, end, kind)
    if not isinstance(piece, str):
        raise ValueError(f"a span's text is a string, not {piece!r}")
    start = located(text, piece, near=start if _is_place(start) else None, taken=taken)
    return _span(text, start, end_of(text, piece, start), kind)


def chunks(text: str, spans: Sequence[Span]) -> set[tuple[str, int, int]]:
    """The entities that seqeval reads from the text's characters tagged in IOB2: it defines what counts as one."""
    from seqeval.metrics.sequence_labeling import get_entities

    tags = [OUTSIDE] * len(text)
    for span in spans:
        if span["end"] > len(text):  # of another text
            continue
        tags[span["start"]] = f"B-{span['type']}"
        tags[span["start"] + 1 : span["end"]] = [f"I-{span['type']}"] * (span["end"] - span["start"] - 1)
    return set(get_entities(tags))


def _pieces(text: str, longest: int) -> Iterator[tuple[int, int, str]]:
    """Every run of at most `longest` words: start, end, text."""
    places = [word.span() for word in WORD.finditer(text)]
    for i, (start, _) in enumerate(places):
        for _, end in places[i : i + longest]:
            yield start, end, text[start:end]


# ---------------------------------------------------------------- words and tokens


def _words(found: Any, of_text: Sequence[int], texts: Sequence[str]) -> list[dict[int, tuple[int, int]]]:
    """Per text: the tokenizer's words with their start and end in characters, whatever windows they lie in."""
    words: list[dict[int, tuple[int, int]]] = [{} for _ in texts]
    for i, k in enumerate(of_text):
        for word, (start, end) in zip(found.word_ids(i), found["offset_mapping"][i], strict=True):
            if word is not None:
                known = words[k].get(word, (start, end))
                words[k][word] = (min(start, known[0]), max(end, known[1]))
    return [
        {word: span for word, place in of_one.items() if (span := trimmed(text, *place))[0] < span[1]}
        for of_one, text in zip(words, texts, strict=True)
    ]


def _first_tokens(found: Any, window: int, words: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """Word → its first token in the window; not of a word that the window begins in the middle of."""
    first: dict[int, int] = {}
    for position, word in enumerate(found.word_ids(window)):
        if word in words and word not in first and found["offset_mapping"][window][position][0] <= words[word][0]:
            first[word] = position
    return first


def _tag_of(place: tuple[int, int], spans: Sequence[Span]) -> str:
    for span in spans:
        if place[0] < span["end"] and span["start"] < place[1]:
            return f"{'B' if place[0] <= span['start'] else 'I'}-{span['type']}"
    return OUTSIDE


def _answer(text: str, words: Mapping[int, tuple[int, int]], best: Mapping[int, tuple[int, str, float]]) -> Answer:
    spans: list[Span] = []
    sure: list[list[float]] = []
    outside = [1.0]
    before = OUTSIDE
    for word in sorted(best, key=lambda word: words[word]):
        _, tag, p = best[word]
        start, end = words[word]
        if tag == OUTSIDE:
            outside.append(p)
        elif tag.startswith("I-") and before[2:] == tag[2:]:
            spans[-1]["end"] = end
            sure[-1].append(p)
        else:
            spans.append(Span(start=start, end=end, text="", type=tag[2:]))
            sure.append([p])
        before = tag
    said = [_span(text, span["start"], span["end"], span["type"]) for span in spans]
    confidence = min(sum(part) / len(part) for part in sure) if sure else min(outside)
    return Answer(_json(said), confidence)


# ---------------------------------------------------------------- gold by construction

ROLES = {
    "class": "class", "exc": "exception", "func": "function", "meth": "method", "mod": "module",
    "attr": "attribute", "data": "constant", "const": "constant",
}  # fmt: skip
"""Sphinx's role → type. What other roles mark (terms, references to pages) is text."""
_ROLE = re.compile(r":(?:py:)?([a-zA-Z]+):`(?P<tilde>[~!.]*)(?P<body>[^`]+)`")
_TITLED = re.compile(r"(?s)(?P<title>.*?)\s*<[^>]*>")
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_NOT_PROSE = re.compile(r"^\s*(>>>|\.\. |[-=~*]{3,}\s*$|:\w+)|::$|[|]", re.M)
_MARKUP = re.compile(r"(?<!\w)(`{1,2}|\*{1,2})(\S(?:[^`*]*\S)?)\1_{0,2}")
_UNMARKED = re.compile(
    r"`|\w_\w|(?!SymPy|NumPy|SciPy|LaTeX|FreeSurfer|GitHub)\b\w*[a-z]\w*[A-Z](?!\b)|\w{2}\.[A-Za-z]|\w\("
)
"""What looks like a name that its author did not mark: such a paragraph would teach that a name is none."""
MIN_WORDS = 5


def _without_roles(paragraph: str) -> tuple[str, str] | None:
    """The paragraph as a reader sees it, and what its roles say; None where they say nothing or it is no prose."""
    paragraph = " ".join(paragraph.split()) if not _NOT_PROSE.search(paragraph) else ""
    text, spans, at = "", [], 0
    if _UNMARKED.search(_ROLE.sub(" ", paragraph)):
        return None
    for role in _ROLE.finditer(paragraph):
        text += _MARKUP.sub(r"\2", paragraph[at : role.start()])
        body = role["body"].strip()
        shown = titled["title"] if (titled := _TITLED.fullmatch(body)) else body
        shown = shown.rpartition(".")[2] if "~" in role["tilde"] and not titled else shown
        kind = ROLES.get(role[1])
        if kind and (name := _NAME.match(shown)) and name.end() == len(shown.removesuffix("()")):
            spans.append(Span(start=len(text), end=len(text) + name.end(), text=name[0], type=kind))
            shown = name[0]
        text, at = text + shown, role.end()
    text += _MARKUP.sub(r"\2", paragraph[at:])
    if not spans or len(text.split()) < MIN_WORDS:
        return None
    return text, _json(spans)


TASK = Entities()
