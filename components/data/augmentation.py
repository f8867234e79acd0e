"""More training rows out of those there are: words and characters changed, sentences moved, rare labels repeated.

Easy data augmentation (Wei and Zou, EMNLP 2019, arXiv:1901.11196): synonyms, random swap, deletion, insertion; with
character noise (Belinkov and Bisk, ICLR 2018) and sentence order. Every draw is a function of (seed, row id, copy).
Synonyms come from a small list of our own; a word that is not in it is left as it is.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING

from components.data.tables import content_id
from components.recipes import Augmentation

if TYPE_CHECKING:
    import pandas as pd

Draw = random.Random

_SYNONYMS = """
big large|small little|quick fast|begin start|end finish|buy purchase|show display|get obtain|give provide|make create
build construct|use employ|help assist|need require|ask request|answer reply|error mistake|problem issue|car vehicle
house home|job work|job position|happy glad|sad unhappy|angry cross|good fine|bad poor|smart clever|easy simple
hard difficult|important significant|rich wealthy|old aged|new recent|right correct|wrong incorrect|often frequently
rarely seldom|maybe perhaps|also too|about roughly|almost nearly|enough sufficient|many numerous|delete remove
change alter|check verify|choose select|choose pick|keep retain|send dispatch|receive get|find locate|look see
say state|tell inform|think believe|try attempt|stop cease|allow permit|forbid prohibit|happen occur|improve enhance
increase raise|reduce lower|compute calculate|return give|raise throw|value amount|part piece|kind type|kind sort
way method|place location|picture image|message note|arrive come|leave depart|broken damaged|quickly rapidly
slowly gradually|whole entire|single sole|several various|main principal|usual common|strange odd|clear plain
fix repair|mend repair|search seek|gather collect|join connect|split divide|hold contain|copy duplicate
高兴 开心|漂亮 美丽|快 迅速|好 不错|差 糟糕|问题 毛病|喜欢 喜爱|便宜 实惠|贵 昂贵
马上 立刻|非常 十分|帮助 协助|开始 启动
结束 完成
使用 采用|选择 挑选|重要 关键|容易 简单|困难 艰难|经常 时常|可能 也许|大约 大概|方法 办法|地方 地点|收到 接到
"""
"""Pairs of words that may stand for each other in most sentences, one a `|`."""

_KEYBOARD = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok", "o": "ipl",
    "p": "ol", "a": "qsz", "s": "adw", "d": "sfe", "f": "dgr", "g": "fht", "h": "gjy", "j": "hku", "k": "jli",
    "l": "ko", "z": "xa", "x": "zcs", "c": "xvd", "v": "cbf", "b": "vng", "n": "bmh", "m": "nj",
}  # fmt: skip
"""Neighbours on a QWERTY keyboard."""
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_TAG = re.compile(r"\[[A-Z]+_\d+\]")


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Word → others for it."""
    found: dict[str, list[str]] = {}
    for pair in _SYNONYMS.replace("\n", "|").strip("|").split("|"):
        one, other = pair.split()
        found.setdefault(one, []).append(other)
        found.setdefault(other, []).append(one)
    return {word: tuple(others) for word, others in found.items()}


# ---------------------------------------------------------------- the changes: text → text


def replace_synonyms(text: str, *, share: float, draw: Draw) -> str:
    """`share` of the words that have a synonym replaced by one, at least one of them; capitals stay."""
    known = synonyms()

    def other(word: str) -> str:
        new = draw.choice(known[word.lower()])
        return new.capitalize() if word[:1].isupper() else new

    matches = [match for match in _WORD.finditer(text) if match.group().lower() in known]
    if not matches:  # Chinese has no spaces: its words are looked for anywhere
        matches = [*re.finditer("|".join(word for word in known if not word.isascii()), text)]
    chosen = {match.start() for match in _some(matches, share, draw)}
    parts, done = [], 0
    for match in matches:
        if match.start() in chosen:
            parts += [text[done : match.start()], other(match.group())]
            done = match.end()
    return "".join([*parts, text[done:]])


def swap_words(text: str, *, share: float, draw: Draw) -> str:
    """Two words change places, `share` of the words times, at least once."""
    words = text.split(" ")
    if len(words) < 2:
        return text
    for _ in range(max(1, round(share * len(words)))):
        one, other = draw.sample(range(len(words)), 2)
        words[one], words[other] = words[other], words[one]
    return " ".join(words)


def delete_words(text: str, *, share: float, draw: Draw) -> str:
    """Every word goes with probability `share`; one is left at least."""
    words = text.split(" ")
    left = [word for word in words if draw.random() >= share or _TAG.search(word)]
    return " ".join(left or [draw.choice(words)])


def insert_synonyms(text: str, *, share: float, draw: Draw) -> str:
    """A synonym of a word of the text is put at a random place, `share` of the words times, at least once."""
    known = synonyms()
    words = text.split(" ")
    have = [word.lower() for word in words if word.lower() in known]
    for _ in range(max(1, round(share * len(words))) if have else 0):
        words.insert(draw.randrange(len(words) + 1), draw.choice(known[draw.choice(have)]))
    return " ".join(words)


def noise_characters(text: str, *, share: float, draw: Draw) -> str:
    """Typing mistakes in `share` of the words of four letters or more: a key beside, two letters swapped, one lost."""
    tags = [match.span() for match in _TAG.finditer(text)]
    matches = [
        match
        for match in re.finditer(r"[A-Za-z]{4,}", text)
        if all(match.end() <= low or match.start() >= high for low, high in tags)
    ]
    chosen = {match.start() for match in _some(matches, share, draw)}
    parts, done = [], 0
    for match in matches:
        if match.start() in chosen:
            parts += [text[done : match.start()], _mistyped(match.group(), draw)]
            done = match.end()
    return "".join([*parts, text[done:]])


def _mistyped(word: str, draw: Draw) -> str:
    at = draw.randrange(1, len(word) - 1)
    kind = draw.randrange(3)
    if kind == 0:
        return word[:at] + draw.choice(_KEYBOARD[word[at].lower()]) + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :]


def reorder_sentences(text: str, *, share: float, draw: Draw) -> str:
    """The sentences in another order; a single one stays."""
    del share
    sentences = [sentence for sentence in _SENTENCE.split(text) if sentence]
    if len(sentences) < 2:
        return text
    order = sentences[:]
    while order == sentences and len(set(sentences)) > 1:
        draw.shuffle(order)
    return ("" if re.search(r"[。！？]", text) and " " not in text else " ").join(order)


def _some(matches: list[re.Match[str]], share: float, draw: Draw) -> list[re.Match[str]]:
    return draw.sample(matches, min(len(matches), max(1, round(share * len(matches))))) if matches else []


CHANGES: dict[str, Callable[..., str]] = {
    "synonyms": replace_synonyms,
    "swap": swap_words,
    "delete": delete_words,
    "insert": insert_synonyms,
    "characters": noise_characters,
    "sentences": reorder_sentences,
}
"""What a recipe's `methods` may name."""


# ---------------------------------------------------------------- the rows


def augment(
    rows: "pd.DataFrame", recipe: Augmentation, *, label: str, seed: int, never: Collection[str]
) -> "pd.DataFrame":
    """New rows made of these training rows, and only they: `origin` is `augmented:<method>`, `group` the original's.

    Args:
        rows: of the training split, with `id`, `text`, `group`, `origin` and the answer.
        label: the column whose values are balanced; '' where answers are free text.
        never: ids that must not come out: texts of the other splits.
    """
    import pandas as pd

    made: list[dict[str, object]] = []
    seen = {*rows["id"], *never}
    records = [{str(name): cell for name, cell in row.items()} for row in rows.sort_values("id").to_dict("records")]

    def add(row: dict[str, object], copy: int) -> bool:
        draw = random.Random(f"{seed}:{row['id']}:{copy}")
        for method in draw.sample(recipe.methods, len(recipe.methods)):
            text = CHANGES[method](str(row["text"]), share=recipe.word_share, draw=draw)
            row_id = content_id(text)
            if text.strip() and row_id not in seen:
                seen.add(row_id)
                made.append(row | {"id": row_id, "text": text, "origin": f"augmented:{method}"})
                return True
        return False

    for copy in range(recipe.copies):
        for row in records:
            add(row, copy)
    if label and recipe.balance:
        by_label: dict[str, list[dict[str, object]]] = {}
        for row in records:
            by_label.setdefault(str(row[label]), []).append(row)
        num_rows = Counter(str(row[label]) for row in [*records, *made])
        most = max(num_rows.values(), default=0)
        for name, mine in sorted(by_label.items()):
            target = min(most, round(recipe.max_growth * len(mine)))
            for number in range(4 * most):  # a short text may have no further change to give
                if num_rows[name] >= target:
                    break
                num_rows[name] += add(mine[number % len(mine)], recipe.copies + number // len(mine))
    return pd.DataFrame(made, columns=rows.columns)
