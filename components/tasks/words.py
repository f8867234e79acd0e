"""Texts cut into what measures count: words, and characters where a script has no spaces between its words.

English stays as the reference implementations of the measures have it; those know the letters a to z and no others.
"""

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # 々〆〇
    (0x3040, 0x30FF),  # kana
    (0x3100, 0x312F),  # Bopomofo
    (0x31F0, 0x31FF),  # kana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Blocks of scripts that are written without spaces. Korean has them."""


def is_unspaced(text: str) -> bool:
    """Whether a character of it is of a script without spaces."""
    return not text.isascii() and any(first <= ord(one) <= last for one in text for first, last in UNSPACED)


def segmented(text: str) -> list[str]:
    """Runs of letters, digits and their marks in any script; characters with their marks in one without spaces.

    As MLQA's mixed segmentation (Lewis et al. 2020, arXiv 1910.07475) and CMRC's (Cui et al. 2019, arXiv 1810.07366)
    have it for Chinese. Compatibility forms become plain ones (NFKC); nothing else stands for a word.
    """
    found: list[str] = []
    goes_on = False  # whether a letter would still be of the last piece
    for one in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(one)[0]
        if category == "M" and found:  # its letter came before it
            found[-1] += one
        elif category not in "LN":
            goes_on = False
        elif is_unspaced(one):
            found.append(one)
            goes_on = False
        elif goes_on:
            found[-1] += one
        else:
            found.append(one)
            goes_on = True
    return found


def num_words(text: str) -> int:
    """Pieces between spaces; characters where the script has none."""
    return len(segmented(text)) if is_unspaced(text) else len(text.split())


class RougeTokenizer:
    """What `RougeScorer(tokenizer=…)` asks: the reference's own tokens for ASCII, and tokens at all for other texts.

    The reference replaces all but a to z and 0 to 9 by blanks, so that two equal Chinese texts score 0.
    """

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._reference: DefaultTokenizer = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """Small letters, stemmed where they are ASCII."""
        if text.isascii():
            return list(self._reference.tokenize(text))
        found: list[str] = []
        for piece in segmented(text.lower()):
            found += self._reference.tokenize(piece) if piece.isascii() else [piece]
        return found
