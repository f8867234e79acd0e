import pytest

from components.data.quality import c4_lines, c4_reason, gopher_reason, gopher_repetition_reason

GOOD = (
    "The committee met on a cold morning to talk about the bridge, and nobody had slept well. "
    "Some of the members wanted to repair what was there; others said that a new one would cost less in the end. "
    "They read the report aloud, page after page, until the clock struck noon. Then the engineer, who had kept quiet, "
    "asked whether anyone had been to see the river with the water as high as it gets in spring."
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, ""),
        ("too few words", "Gopher, number of words"),
        ("a b c " * 40, "Gopher, mean word length"),
        (GOOD + " #" * 30, "Gopher, symbols to words"),
        (
            "\n".join("- the second point of the meeting and that which followed" for _ in range(12)),
            "Gopher, bullet lines",
        ),
        (
            "\n".join(["the rest of it and that is more to read..."] * 3 + [GOOD]),
            "Gopher, lines that end in an ellipsis",
        ),
        ("the and 12345 67890 " * 20, "Gopher, words without letters"),
        ("lorem dolor amet consectetur " * 20, "Gopher, stop words"),
        (
            "今天天气很好，我们一起去公园散步，看到了许多美丽的花朵和快乐的孩子们在草地上奔跑玩耍，大家都非常开心，晚上回家做饭吃",
            "",
        ),
    ],
)
def test_gophers_rules_each_drop_what_they_are_for(text, reason):
    assert gopher_reason(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, ""),
        ("same line\n" * 4 + GOOD, "Gopher, duplicate lines"),
        ("short one and only\n\n".join(GOOD.split(". ")), ""),
        (" ".join(f"{word} buy now" for word in GOOD.split()), "Gopher, most frequent 2-gram"),
        (GOOD + " " + GOOD, "Gopher, duplicate 5-gram"),
        ("one two three", ""),
    ],
)
def test_gophers_limits_of_repetition(text, reason):
    assert gopher_repetition_reason(text) == reason


def test_c4_keeps_sentences_and_drops_menus_notices_and_citation_marks():
    page = (
        "Home | About\nThe river rose in the night.[3]\nPlease enable JavaScript to see it all.\nShort one.\n"
        "This site uses cookies to make it better.\nIt was told to all of us...\n河水在夜里涨了起来。"
    )
    assert c4_lines(page) == "The river rose in the night.\n河水在夜里涨了起来。"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("One is here. Two is here. Three is here.", ""),
        ("一句话。两句话。三句话。", ""),
        ("Only one. And two.", "C4, too few sentences"),
        ("function() { return 1. } One. Two. Three.", "C4, curly bracket"),
        ("Lorem ipsum dolor. Sit amet. More.", "C4, lorem ipsum"),
        ("One is here. Two is Rude. Three is here.", "C4, blocked word"),
    ],
)
def test_c4_drops_pages(text, reason):
    assert c4_reason(text, blocked_words={"rude"}) == reason
