"""Why a retraining began, or did not, in the reader's language.

The run says it in English, with its numbers, fragment by fragment (components/feedback/triggers.py); here each fragment
is recognised and said anew. What is not recognised stays as it was said.
"""

import re

from dashboard.text import Words

FRAGMENTS: tuple[tuple[str, str], ...] = tuple(
    (key, f"^{pattern}$")
    for key, pattern in (
        ("trigger.enough", r"(?P<rows>\d+) rows of feedback wait, and (?P<least>\d+) are enough"),
        ("trigger.waiting", r"(?P<rows>\d+) rows of feedback wait"),
        ("trigger.least", r"(?P<least>\d+) are enough"),
        ("trigger.canary", r"(?P<what>.+) was taken back by the watch"),
        ("trigger.drift", r"(?P<what>.*) drifted by (?P<drift>[\d.]+), and (?P<limit>[\d.]+) are let pass"),
        ("trigger.drift.none", r"drift (?P<drift>[\d.]+) of (?P<limit>[\d.]+)"),
        ("trigger.data", r"the table's labelled rows are others than the champion was trained on"),
        ("trigger.data.none", r"no new labelled rows"),
        ("trigger.canary.none", r"nothing was taken back"),
        ("trigger.resting", r"but the last retraining ended (?P<ago>.+) ago, and the next waits (?P<left>.+)"),
        (
            "trigger.lost",
            r"but (?P<count>\d+) attempts? in a row came to nothing, the last (?P<ago>.+) ago, "
            r"and the next waits (?P<left>.+)",
        ),
        ("trigger.ceiling", r"but there were (?P<today>\d+) retrainings in a day, and (?P<count>\d+) are the most"),
        ("trigger.unknown", r"nothing is known yet of what a retraining gains here"),
        (
            "trigger.not_worth",
            r"but (?P<gain>\S+) expected for (?P<span>.+) of training, (?P<hour>\S+) an hour, and (?P<least>\S+) "
            r"are the least",
        ),
        ("trigger.worth", r"(?P<gain>\S+) expected for (?P<span>.+) of training, (?P<hour>\S+) an hour"),
        ("trigger.asked.anew", r"somebody asked for it, anew"),
        ("trigger.asked.cut", r"somebody asked for it, on the feedback up to (?P<cut>\d+)"),
        ("trigger.since", r"(?P<rows>\d+) rows of feedback on \S+ since the last retraining"),
        ("trigger.nothing", r"no feedback on \S+ waits"),
        ("trigger.busy", r"another retraining of \S+ is at work"),
        ("trigger.refused", r"all (?P<count>\d+) rows were refused"),
        ("trigger.elsewhere", r"its recipe needs a GPU: it goes on in pool gpu"),
    )
)
SAID_WITH_THE_OTHER = {"1 row is enough"}
SPANS = {"ago", "left", "span"}


def told(reason: str, table: str, words: Words) -> str:
    """The sentence of a retraining's first line, without the table that stands beside it."""
    parts = [_told(part, words) for part in reason.removeprefix(f"{table}: ").split("; ")]
    return words("list.stop").join(part for part in parts if part)


def _told(part: str, words: Words) -> str:
    if part in SAID_WITH_THE_OTHER:
        return ""
    for key, pattern in FRAGMENTS:
        if found := re.match(pattern, part):
            given: dict[str, str] = found.groupdict()
            if "rows" in given:
                given["rows"] = words.counted("row", int(given["rows"]))
            return words(
                key, **{name: _span(value, words) if name in SPANS else value for name, value in given.items()}
            )
    return part


def _span(text: str, words: Words) -> str:
    count, _, unit = text.partition(" ")
    return words(f"trigger.span.{unit}", count=count) if words.has(f"trigger.span.{unit}") else text
