"""Both models asked again with typing errors and in other words, and timed: evidence beside the gate's verdict.

It decides nothing.
"""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from components.evaluation.paraphrase import paraphrased
from components.tasks.base import Answer, Task

if TYPE_CHECKING:
    import pandas as pd

TYPO_SHARE = 0.05
"""Of a text's letters: one in twenty, which nobody fails to read."""

SYNONYM_SHARE = 0.5
"""Of a text's words that have a synonym in `data.augmentation`'s list."""

Say = Callable[[Sequence[str]], list[Answer]]

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


class Asked(BaseModel):
    """One model on the probe's rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float
    """As the texts are written."""
    typo_score: float
    paraphrase_score: float | None = None
    """In other words, as `paraphrase` has them; None where no rule of it applies to any text."""
    seconds_per_example: float
    """Answering them as they are written, in batches, on the machine that judged."""


class Probe(BaseModel):
    """What a hundred or two test rows show beside accuracy. `champion` is None where it was the plain baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_examples: int
    typo_share: float
    challenger: Asked
    champion: Asked | None


def typos(text: str, *, seed: int, share: float = TYPO_SHARE) -> str:
    """`text` with that share of its letters mistyped: swapped with the next, left out, doubled, or a key's neighbour.

    The four errors of Damerau (*A technique for computer detection and correction of spelling errors*, CACM 1964). A
    function of text, seed and share alone. First letters stay: people seldom miss those, and read by them.
    """
    draws = random.Random(f"{seed}:{text}")
    letters, i = list(text), 1
    made: list[str] = letters[:1]
    while i < len(letters):
        here = letters[i]
        if not (here.isalpha() and letters[i - 1].isalpha() and draws.random() < share):
            made.append(here)
        else:
            kind = draws.randrange(4)
            if kind == 0 and i + 1 < len(letters) and letters[i + 1].isalpha():
                made += [letters[i + 1], here]
                i += 1
            elif kind == 1:
                pass  # left out
            elif kind == 2:
                made += [here, here]
            else:
                made.append(_neighbour(here, draws))
        i += 1
    return "".join(made)


def ask(say: Say, rows: "pd.DataFrame", *, task: Task, seed: int) -> Asked:
    """One model on `rows`, as they are written, with typing errors and in other words.

    Args:
        rows: of the test split.
    """
    texts = list(rows["text"])
    say(texts[:1])  # the first answer pays for what is set up once
    started = time.perf_counter()
    answers = say(texts)
    seconds = time.perf_counter() - started
    mistyped = say([typos(text, seed=seed) for text in texts])
    reworded = [paraphrased(text, seed=seed, share=SYNONYM_SHARE) for text in texts]
    again = say(reworded) if reworded != texts else None
    return Asked(
        score=float(task.score(answers, rows)["score"].mean()),
        typo_score=float(task.score(mistyped, rows)["score"].mean()),
        paraphrase_score=None if again is None else float(task.score(again, rows)["score"].mean()),
        seconds_per_example=seconds / len(texts),
    )


def model_in(folder: Path, *, task: Task) -> Say:
    """A trained model's way to answer.

    Raises:
        InputFileError: no model to read in `folder`.
    """
    from components.models.pretrained import load_trained
    from components.training.device import exact

    network, tokenizer = load_trained(folder, task=task)

    def say(texts: Sequence[str]) -> list[Answer]:
        with exact():
            return task.answer(network, tokenizer, texts)

    return say


def _neighbour(letter: str, draws: random.Random) -> str:
    for row in _KEYBOARD:
        if (place := row.find(letter.lower())) >= 0:
            near = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            found = draws.choice(near)
            return found.upper() if letter.isupper() else found
    return letter + letter  # of another script: doubled
