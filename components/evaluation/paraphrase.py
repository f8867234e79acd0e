"""The same said in other words, by rules alone: synonyms, contractions, numbers, the order of two clauses.

English, but for the synonyms, of which some are Chinese. What stands in backquotes is left as it is, and so are tags of
masked data. A function of text, seed and share; where no rule applies, the text comes back as it was.
"""

import random
import re
from functools import cache

from components.data.augmentation import replace_synonyms

_LONG = """
do not|don't  does not|doesn't  did not|didn't  is not|isn't  are not|aren't  was not|wasn't  were not|weren't
cannot|can't  could not|couldn't  will not|won't  would not|wouldn't  should not|shouldn't  have not|haven't
has not|hasn't  had not|hadn't  must not|mustn't  need not|needn't
i am|i'm  you are|you're  we are|we're  they are|they're  it is|it's  that is|that's  there is|there's
what is|what's  i have|i've  you have|you've  we have|we've  they have|they've
i will|i'll  you will|you'll  we will|we'll  they will|they'll  it will|it'll
"""
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_KEPT = re.compile(r"`[^`]*`|\[[A-Z]+_\d+\]")
_DIGITS = re.compile(r"(?<![\w.,:/+\-=<>*^(\[])(?<![+\-=<>*/] )(\d{1,2})(?= [a-z]{3})")
"""A whole number before a word: not of a version, a range, a sum, a unit or a list's bracket."""
_SPELLED = re.compile(rf"\b({'|'.join(_NUMBERS[2:])})\b(?= [a-z])(?! of\b)", re.IGNORECASE)
"""From two on: "one" is a pronoun as often, and "two of them" no number before a word."""
_CLAUSES = re.compile(
    r"^(If|When|While|Because|Although|After|Before|Since|Unless|Once) ([^,;:.!?]+), ([a-z][^,;:.!?]*)([.!?]?)$"
)
_SENTENCE = re.compile(r"(?<=[.!?])(\s+)")


def paraphrased(text: str, *, seed: int, share: float) -> str:
    """`text` in other words: every rule wherever it applies, and of the words with a synonym that `share`."""
    draw = random.Random(f"{seed}:{text}")
    pieces, done = [], 0
    for kept in _KEPT.finditer(text):
        pieces += [_reworded(text[done : kept.start()], share, draw), kept.group()]
        done = kept.end()
    said = "".join([*pieces, _reworded(text[done:], share, draw)])
    return turned(said)


def _reworded(text: str, share: float, draw: random.Random) -> str:
    return renumbered(recontracted(replace_synonyms(text, share=share, draw=draw)))


def recontracted(text: str) -> str:
    """`do not` for `don't` and the other way round; `it's been` and `is not None` stay."""
    pattern, other = _contractions()

    def swap(match: re.Match[str]) -> str:
        found = match.group()
        new = other[found.lower().replace("’", "'")]
        return new[0].upper() + new[1:] if found[0].isupper() or new.startswith(("i ", "i'")) else new

    return pattern.sub(swap, text)


def renumbered(text: str) -> str:
    """`3 nodes` for `three nodes` and the other way round, up to twelve."""

    def spell(match: re.Match[str]) -> str:
        value = int(match.group())
        return _NUMBERS[value] if 2 <= value < len(_NUMBERS) and not match.group().startswith("0") else match.group()

    # Both on the text as it came: what one writes the other must not take back.
    parts, done = [], 0
    found = sorted([*_DIGITS.finditer(text), *_SPELLED.finditer(text)], key=lambda match: match.start())
    for match in found:
        word = match.group().lower()
        parts += [text[done : match.start()], spell(match) if word.isdigit() else str(_NUMBERS.index(word))]
        done = match.end()
    return "".join([*parts, text[done:]])


def turned(text: str) -> str:
    """`Y if X.` for `If X, Y.`, of sentences that have two clauses and no further comma."""
    return "".join(_turned(piece) for piece in _SENTENCE.split(text))


def _turned(sentence: str) -> str:
    match = _CLAUSES.match(sentence)
    if match is None or sentence.count("`") % 2:
        return sentence
    word, condition, rest, end = match.groups()
    return f"{rest[0].upper()}{rest[1:]} {word.lower()} {condition}{end}"


@cache
def _contractions() -> tuple[re.Pattern[str], dict[str, str]]:
    pairs = [tuple(pair.split("|")) for pair in re.split(r"\s{2,}|\n", _LONG) if pair]
    other = {short: long for long, short in pairs}
    other |= {long: short for long, short in pairs if not long.endswith(" have")}  # "we have two" is no "we've two"
    longest = sorted(other, key=len, reverse=True)
    either = "|".join(re.escape(one).replace("'", "['’]") for one in longest)
    # Not before what shows that the verb is another or has no other part: it's been, it is., x is not None.
    pattern = re.compile(rf"\b({either})\b(?= [A-Za-z])(?! (?:been|got|None|True|False|null)\b)", re.IGNORECASE)
    return pattern, other
