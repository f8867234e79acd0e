"""Conversations by construction, over passages that a look into their module finds.

What numpydoc's parameter lists answer is asked; what is shown is what the index ranks first, as a look into the
documents does for whoever talks with them.
"""

import ast
import hashlib
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from components.tasks.base import from_json
from components.tasks.question_answering import questions_of

if TYPE_CHECKING:
    from components.retrieval.index import Index
    from components.retrieval.passages import Passage

FIRST = {
    "default": (
        "What is the default of {parameter} in {function}?",
        "What is the default of {parameter} in {function}?",
        "What does {parameter} default to in {function}?",
        "In {function}, what is the default value of {parameter}?",
    ),
    "type": (
        "What type is {parameter} in {function}?",
        "What type is {parameter} in {function}?",
        "Of which type is {parameter} of {function}?",
        "What kind of value does {function} take as {parameter}?",
    ),
}
NEXT = {
    "default": ("And what is the default of {parameter}?", "And the default of {parameter}?"),
    "type": ("And what type is {parameter}?", "And of which type is {parameter}?"),
}
ALIKE = ("And {parameter}?", "What about {parameter}?")
"""Where the turn before asked for the same of another parameter."""
NUM_PASSAGES = (2, 2, 3, 3, 4)
"""Shown, drawn from: four cost twice the tokens of two."""


@dataclass(frozen=True)
class Question:
    """What is asked of one parameter of one function, and where its document says the answer."""

    function: str
    parameter: str
    kind: str
    """`default` or `type`."""
    document: str
    within: tuple[int, int]
    """The function, in characters of the document."""
    answer: str = ""
    """Empty: the function states none."""
    stands: tuple[int, int] = field(default=(0, 0))
    """From the parameter's line to the end of the answer."""

    def asked(self, forms: Sequence[str], number: int = 0) -> str:
        """In one of several forms."""
        return forms[number % len(forms)].format(parameter=self.parameter, function=self.function)

    def is_in(self, passage: "Passage") -> bool:
        """The passage holds the parameter and its answer in the function's list, or the default in its signature."""
        begin, end = passage.start, passage.start + len(passage.text)
        if passage.document != self.document or not self.answer:
            return False
        if begin <= self.stands[0] and self.stands[1] <= end:
            return True
        own = passage.text[max(0, self.within[0] - begin) : max(0, self.within[1] - begin)]
        said = rf"\b{re.escape(self.parameter)}\s*(?::[^=\n]*)?=\s*{re.escape(self.answer)}(?![\w.])"
        return self.kind == "default" and re.search(said, own) is not None


def questions(text: str, document: str) -> Iterator[list[Question]]:
    """Of each function of a module that has a parameter list, its questions."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            code = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for node in ast.walk(code):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not (said := ast.get_docstring(node)):
            continue
        within = (starts[node.lineno - 1], min(len(text), starts[node.end_lineno or node.lineno]))
        found = []
        for asked, answers in questions_of(said):
            line, places = asked.partition("\n")[0].removesuffix("?"), from_json(answers)
            parameter, kind = line.split()[-1], "default" if " default " in line else "type"
            one = Question(node.name, parameter, kind, document, within)
            if not places:
                # a signature may state what the list does not
                if not re.search(rf"\b{re.escape(parameter)}\s*(?::[^=\n]*)?=", text[slice(*within)]):
                    found.append(one)
            elif stands := _stands(text, within, parameter, str(places[0]["answer"])):
                found.append(Question(node.name, parameter, kind, document, within, str(places[0]["answer"]), stands))
        if found:
            yield found


def _stands(text: str, within: tuple[int, int], parameter: str, answer: str) -> tuple[int, int] | None:
    head = re.compile(rf"^[ \t]*[`*]*{re.escape(parameter)}[`*]* ?: ?", re.M).search(text, *within)
    at = text.find(answer, head.end(), min(within[1], head.end() + 1500)) if head else -1
    return (head.start(), at + len(answer)) if head and at >= 0 else None


@dataclass(frozen=True)
class Exchange:
    """A conversation that ends with a question, what was found for it, and what is to be said."""

    turns: tuple[str, ...]
    passages: tuple[str, ...]
    answer: str
    """Empty: no passage says it."""
    number: int
    """Of the passage that does, from 1 on."""

    def said(self, not_said: str) -> str:
        return f"{self.answer} [{self.number}]" if self.answer else not_said


def exchanges(code: ast.Module, *, not_said: str) -> Iterator[Exchange]:
    """A module's questions over its own passages, as they are ranked, now and then in another order; in some
    rows none holds the answer; some are a second turn that leaves the function unnamed."""
    from components.retrieval.index import build
    from components.retrieval.passages import Passage, passages_in

    text, document = ast.unparse(code), "module.py"
    asked: dict[str, list[Question]] = {}
    for found in questions(text, document):
        asked.setdefault(found[0].function, found)
    if not asked:
        return
    with tempfile.TemporaryDirectory() as folder:
        index = build(passages_in(Passage(document, 0, text)), Path(folder) / "module.sqlite")
        for some in asked.values():
            before: tuple[Question, Exchange] | None = None
            for one in some:
                drawn = _drawn(one.function, one.parameter, one.kind)
                if not one.answer and drawn % 3:  # most of what is not stated would be of one kind
                    continue
                first = one.asked(FIRST[one.kind], drawn // 3)
                turns: tuple[str, ...] = (first,)
                if before and drawn // 12 % 2:
                    forms = NEXT[one.kind] + (ALIKE if before[0].kind == one.kind else ())
                    turns = (*before[1].turns[-1:], before[1].said(not_said), one.asked(forms, drawn // 24))
                made = _found(one, turns, index, drawn // 96)
                if made:
                    yield made
                    # the turn before is one that names the function
                    before = (one, made) if len(turns) == 1 else before


def _found(one: Question, turns: tuple[str, ...], index: "Index", drawn: int) -> Exchange | None:
    from components.retrieval.queries import query_of

    most = NUM_PASSAGES[drawn % len(NUM_PASSAGES)]
    ranked = [found.passage for found in index.search(query_of(turns), most=4 * max(NUM_PASSAGES))]
    holding = [passage for passage in ranked if one.is_in(passage)]
    if drawn // 5 % 7 == 0:
        ranked = [passage for passage in ranked if passage not in holding]
    elif holding and holding[0] not in ranked[:most] and drawn // 35 % 4:
        # a look into thousands of documents finds it more often than so short a list has it
        ranked.insert(most - 1, holding[0])
    shown = ranked[:most]
    if drawn // 140 % 3 == 0:
        shown.sort(key=lambda passage: _drawn(str(drawn), str(passage.start)))
    if not shown:
        return None
    holds = [i for i, passage in enumerate(shown, start=1) if one.is_in(passage)]
    answer = one.answer if holds else ""
    return Exchange(turns, tuple(passage.shown for passage in shown), answer, holds[0] if holds else 0)


def _drawn(*parts: str) -> int:
    """The same for the same, on every machine."""
    return int(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12], 16)
