import random
from collections import Counter

from components.data.quality import GopherQuality, gopher_reason
from components.data.quality_arrays import gopher_reasons
from tests.unit.data.test_quality import GOOD

CHARACTERS = "ab.#…-*•\n\r\x0b\x85\u2028 \t 中あｱäİΣ1+\u00a0"
PIECES = (*CHARACTERS, "the ", "be ", "THE ", "of\n", "...", "....", "\n- ", "\n\t* ", "word ", GOOD)
LOOSE = GopherQuality(
    min_words=3,
    min_mean_word_chars=1.0,
    max_symbols_per_word=0.6,
    max_bullet_lines=0.3,
    max_ellipsis_lines=0.1,
    min_words_with_letter=0.7,
)


def drawn(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(PIECES, k=draw.randrange(1, 200))) for _ in range(count)]


def test_many_texts_at_once_are_judged_as_each_by_itself() -> None:
    texts = [text for text in drawn(1500, seed=3) if text.strip()]
    answers = gopher_reasons(texts, rules=LOOSE)
    assert answers == [gopher_reason(text, rules=LOOSE) for text in texts]
    assert len(Counter(answers)) >= 6, "the texts do not reach the rules"


def test_a_plain_text_does_not_change_what_is_said_of_its_neighbours() -> None:
    texts = [GOOD, "short", GOOD.replace(" ", "\u2003"), "- the\n" * 60, "桥" * 80, GOOD]
    assert gopher_reasons(texts) == [gopher_reason(text) for text in texts]
    assert gopher_reasons(texts[::-1]) == [gopher_reason(text) for text in texts[::-1]]


def test_stop_words_far_into_a_text_are_found() -> None:
    far = "lorem dolor amet consectetur " * 600
    assert gopher_reasons([far, far + "the river and the sea"]) == ["Gopher, stop words", ""]
    assert gopher_reasons(["l" * 7 + " lorem" * 169 + " the rest" + " dolor" * 90]) == ["Gopher, stop words"]


def test_nothing_in_nothing_out() -> None:
    assert gopher_reasons([]) == []
