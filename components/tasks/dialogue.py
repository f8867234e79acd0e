"""Dialogue: the next turn of a conversation, out of numbered passages where there are any, each named that is used.

A row's `text` is a conversation as JSON, its last turn the one to answer; any other text is one turn without passages:

    {"turns": ["Who wrote it?", "Ada [1]", "And when?"], "passages": ["…", "…"], "system": "Be brief."}

Turns alternate, the first and the last are the user's; `passages` and `system` may be left out. An answer ends with
the number of the passage that says so, `In 1843. [2]`, or is `The documents do not say.`
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.tasks.base import Answer, from_json
from components.tasks.exchanges import exchanges
from components.tasks.question_answering import f1, is_same, normalised
from components.tasks.spans import SENTENCE, WORD
from components.tasks.writing import Writing, plain_ids

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

NOT_SAID = "The documents do not say."
INSTRUCTION = (
    "Answer from the numbered passages and end with the number of the one that says so, as [1]. "
    f"If none says it, answer: {NOT_SAID}"
)
PLAIN = "Answer the user."
CITED = re.compile(r"\s*\[(\d{1,2})\]")


@dataclass(frozen=True)
class Conversation:
    turns: tuple[str, ...]
    """Alternating, the user's first and last."""
    passages: tuple[str, ...] = ()
    system: str = ""

    def as_text(self) -> str:
        """As rows, the ledger and prompts hold it."""
        said = {"turns": list(self.turns), "passages": list(self.passages), "system": self.system}
        return json.dumps({name: value for name, value in said.items() if value}, ensure_ascii=False)


def conversation_of(text: str) -> Conversation:
    """What a text says, or one turn that is the text itself.

    Raises:
        ValueError: it is a conversation, but its turns do not alternate, or it holds what is none of its parts.
    """
    try:
        found = from_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "turns" not in found:
        return Conversation((text,))
    turns, passages, system = found["turns"], found.get("passages", []), found.get("system", "")
    lists = all(isinstance(one, list) and all(isinstance(s, str) for s in one) for one in (turns, passages))
    if not lists or not isinstance(system, str) or set(found) - {"turns", "passages", "system"}:
        raise ValueError("a conversation is turns and passages (lists of texts), and system (a text)")
    if len(turns) % 2 == 0 or not all(turn.strip() for turn in turns):
        raise ValueError(f"{len(turns)} turns: they alternate, none is empty, the first and the last are the user's")
    return Conversation(tuple(turns), tuple(passages), system)


def without_citations(answer: str) -> str:
    """What is said, without the numbers of passages."""
    return CITED.sub("", answer).strip()


def cited(answer: str) -> tuple[int, ...]:
    """The passages that an answer names, by their numbers from 1 on, each once."""
    return tuple(dict.fromkeys(int(number) for number in CITED.findall(answer)))


class Dialogue(Writing):
    name = "dialogue"
    title = "The next turn of a conversation, with what it is taken from"
    metric_name = "f1"
    metrics = ("exact_match", "citation_correctness", "answerability")
    # each piece is told to the tokenizer by itself, so that no text can spell an end of its turn
    template = (
        f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n<|im_start|>user\n{{text}}<|im_end|>\n<|im_start|>assistant\n"
    )
    lead = ""
    example = json.dumps(
        {
            "turns": ["What is the default of alpha in pagerank?"],
            "passages": ["hits: max_iter : int, default 100", "pagerank: alpha : float, default 0.85"],
        }
    )
    baseline_name = "sentence with the most words of the question, and its passage"
    distinct_texts = False

    def fit(self, text: str, target: str) -> str:
        """Every passage that the target names must be there."""
        num_passages = len(conversation_of(text).passages)
        if wrong := [number for number in cited(target) if not 1 <= number <= num_passages]:
            raise ValueError(f"passage [{wrong[0]}] is not among the {num_passages} that the conversation has")
        return target

    def gold(self, code: ast.Module) -> Iterator[tuple[str, str]]:
        """Questions that numpydoc's parameter lists answer, over passages that are found for them (`exchanges`)."""
        for one in exchanges(code, not_said=NOT_SAID):
            yield Conversation(one.turns, one.passages).as_text(), one.said(NOT_SAID)

    def prompts(self, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
        """At most `tokenizer.model_max_length` tokens: the last turn, then the exchange before it, then passages as
        they are ranked, then older exchanges, newest first; what does not fit is left out, and the turn is cut last."""
        return [[token for token, _ in _prompt(_read(text), tokenizer)] for text in texts]

    def places(self, text: str, tokenizer: "PreTrainedTokenizerBase") -> list[tuple[int, int] | None]:
        """Of turns, passages and system, where their letters stand in the conversation's JSON."""
        return _placed(text, [came_from for _, came_from in _prompt(_read(text), tokenizer)], tokenizer)

    def is_over(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> bool:  # noqa: ARG002
        """Only at the end token or the longest answer."""
        return False

    def said(self, ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def score(self, answers: Sequence[Answer], frame: "pd.DataFrame") -> "pd.DataFrame":
        """F1 of the words as SQuAD has it, without the numbers of passages; `is_cited`: they are the right ones."""
        import pandas as pd

        rows = []
        for answer, row_id, target in zip(answers, frame["id"], frame["target"], strict=True):
            said, right = without_citations(answer.output), without_citations(target)
            rows.append(
                {
                    "id": row_id,
                    "prediction": answer.output,
                    "target": target,
                    "score": f1(said, right),
                    "confidence": answer.confidence,
                    "exact": float(is_same(said, right)),
                    "cites": bool(cited(target)),
                    "is_cited": set(cited(answer.output)) == set(cited(target)),
                    "is_answerable": normalised(right) != normalised(NOT_SAID),
                    "is_answered": normalised(said) != normalised(NOT_SAID),
                }
            )
        names = ["id", "prediction", "target", "score", "confidence", "exact", "cites", "is_cited", "is_answerable"]
        return pd.DataFrame(rows, columns=[*names, "is_answered"])

    def figures(self, per_example: "pd.DataFrame") -> dict[str, float]:
        """`citation_correctness`: of answers that must name passages, how many name those and no others."""
        cites = per_example["cites"].astype(bool)
        can, does = per_example["is_answerable"].astype(bool), per_example["is_answered"].astype(bool)
        found = {"exact_match": float(per_example["exact"].mean()), "answerability": float((can == does).mean())}
        if cites.any():
            found["citation_correctness"] = float(per_example.loc[cites, "is_cited"].astype(float).mean())
        return found

    def baseline(
        self,
        train: "pd.DataFrame",
        test: "pd.DataFrame",
        labels: Sequence[str],  # noqa: ARG002  # free text has none
    ) -> "pd.DataFrame":
        """Of all passages, the sentence that shares most with the last turn, words rare in training counting more."""
        import math

        in_texts = Counter(word for text in train["text"] for word in {*_words(text)})
        rare = math.log(2 + 2 * len(train))
        weight = {word: math.log(1 + len(train) / number) for word, number in in_texts.items()}
        answers = []
        for text in test["text"]:
            asked = _read(text)
            wanted = {*_words(asked.turns[-1])}
            whole = sum(weight.get(word, rare) for word in wanted) or 1.0
            best = (0.0, 0, NOT_SAID)
            for number, passage in enumerate(asked.passages, start=1):
                for sentence in SENTENCE.finditer(passage):
                    shared = sum(weight.get(word, rare) for word in wanted & {*_words(sentence[0])})
                    best = max(best, (shared / whole, -number, f"{sentence[0].strip()} [{number}]"))
            answers.append(Answer(best[2], best[0] or 1.0))
        return self.score(answers, test)


def _read(text: str) -> Conversation:
    """A text that is no whole conversation is one turn: somebody asked it, and gets an answer."""
    try:
        return conversation_of(text)
    except ValueError:
        return Conversation((text,))


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


# ---------------------------------------------------------------- prompts


Token = tuple[int, tuple[int, int] | None]
"""A token's id, and which token of which piece that was said it is: rules, turns, passages. None: of the template."""


def _prompt(asked: Conversation, tokenizer: "PreTrainedTokenizerBase") -> list[Token]:
    marks = tokenizer(
        ["<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n", "\n"],
        add_special_tokens=False,
        split_special_tokens=False,
    )["input_ids"]
    to_system, to_user, to_model, end, line = ([(token, None) for token in mark] for mark in marks)
    ids: list[list[Token]] = [
        [(token, (k, i)) for i, token in enumerate(row)] for k, row in enumerate(plain_ids(_said(asked), tokenizer))
    ]
    rules, turns, passages = ids[0], ids[1 : len(asked.turns) + 1], ids[len(asked.turns) + 1 :]
    fixed = len(to_system) + len(end) * 2 + len(to_user) + len(to_model) + len(line)
    room = int(tokenizer.model_max_length) - fixed
    rules = rules[: max(0, room // 3)]
    room -= len(rules)
    last = turns[-1][: max(1, room)]
    room -= len(last)

    around = len(to_user) + len(to_model) + 2 * len(end)
    exchanges = [turns[i : i + 2] for i in range(0, len(turns) - 1, 2)]
    kept: list[list[Token]] = []

    def keep_exchange(most: int) -> bool:
        nonlocal room
        question, answer = exchanges[-1]
        cost = len(question) + len(answer) + around
        if cost > most:
            return False
        exchanges.pop()
        kept.insert(0, [*to_user, *question, *end, *to_model, *answer, *end])
        room -= cost
        return True

    if exchanges:
        keep_exchange(room // 3)
    shown: list[Token] = []
    for passage in passages:
        if len(passage) > room:
            break
        shown += passage
        room -= len(passage)
    if passages and not shown:
        shown = passages[0][: max(0, room)]
        room -= len(shown)
    while exchanges and keep_exchange(room):
        pass
    history = [token for exchange in kept for token in exchange]
    body = [*shown, *(line if shown else []), *last]
    return [*to_system, *rules, *end, *history, *to_user, *body, *end, *to_model]


def _said(asked: Conversation) -> list[str]:
    """Rules, turns and passages as the prompt has them, each to be tokenized by itself."""
    passages = (f"[{i}] {' '.join(p.split())}\n" for i, p in enumerate(asked.passages, start=1))
    return [f"{_rules(asked)} {asked.system}".strip(), *asked.turns, *passages]


def _rules(asked: Conversation) -> str:
    return INSTRUCTION if asked.passages else PLAIN


# ---------------------------------------------------------------- where a prompt's tokens stand in the text

_LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?', re.DOTALL)
_LETTER = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|.", re.DOTALL)

Places = list[tuple[int, int] | None]


def _placed(text: str, came_from: Sequence[tuple[int, int] | None], tokenizer: "PreTrainedTokenizerBase") -> Places:
    """Per token, by the piece that it is of and its number there: the characters of `text` that it stands for."""
    asked = _read(text)
    found = tokenizer(
        _said(asked), add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )["offset_mapping"]
    letters = _letters(text, asked)
    places: Places = []
    for one in came_from:
        piece, number = one or (0, 0)
        start, end = found[piece][number] if one else (0, 0)
        own = [place for place in letters[piece][start:end] if place]
        places.append((own[0][0], own[-1][1]) if own else None)
    return places


def _letters(text: str, asked: Conversation) -> list[Places]:
    """Per piece of `_said`, per letter of it: where it stands in the text; None for what the prompt adds."""
    if asked == Conversation((text,)):
        system: Places = []
        turns: list[Places] = [[(i, i + 1) for i in range(len(text))]]
        passages: list[Places] = []
    else:
        parts: dict[str, list[Places]] = {}
        of: list[Places] = []
        for literal in _LITERAL.finditer(text):
            if literal[2]:
                of = parts[literal[1]] = []
            else:
                of.append([one.span() for one in _LETTER.finditer(text, *literal.span(1))])
        system, turns, passages = [*parts.get("system", []), []][0], parts["turns"], parts.get("passages", [])
    shown = []
    for i, (passage, where) in enumerate(zip(asked.passages, passages, strict=True), start=1):
        own: Places = [None] * len(f"[{i}]")
        for word in re.finditer(r"\S+", passage):
            own += [None, *where[word.start() : word.end()]]
        shown.append([*own, None])
    return [[*[None] * len(_rules(asked)), None, *system], *turns, *shown]


TASK = Dialogue()
