"""Every string that a person sees, in English and in Chinese, and how numbers are written.

What was there first is in `text_en` and `text_zh`; whatever came later keeps both languages of a sentence side by side,
in one table a subject.

The two tables have the same keys and the same placeholders (a test compares them). Proper names (Prefect,
MLflow, GPT), model and table names, and what a store says of its own failure are not translated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from dashboard.text_cost import COST
from dashboard.text_data import DATA
from dashboard.text_en import EN
from dashboard.text_gate import GATE
from dashboard.text_measured import MEASURED
from dashboard.text_mistakes import MISTAKES
from dashboard.text_people import PEOPLE
from dashboard.text_reasons import REASONS
from dashboard.text_runs import RUNS
from dashboard.text_talk import TALK
from dashboard.text_trigger import TRIGGER
from dashboard.text_why import WHY
from dashboard.text_zh import ZH

Language = Literal["en", "zh"]
LANGUAGES: Mapping[Language, str] = {"en": "English", "zh": "中文"}
PAIRS: Mapping[str, tuple[str, str]] = {
    **REASONS,
    **GATE,
    **COST,
    **PEOPLE,
    **DATA,
    **WHY,
    **RUNS,
    **TRIGGER,
    **MEASURED,
    **TALK,
    **MISTAKES,
}
STRINGS: Mapping[Language, Mapping[str, str]] = {
    "en": {**EN, **{key: english for key, (english, _) in PAIRS.items()}},
    "zh": {**ZH, **{key: chinese for key, (_, chinese) in PAIRS.items()}},
}


@dataclass(frozen=True)
class Words:
    """One language. Called with a key and its placeholders' values, it gives the sentence."""

    language: Language
    zone: tzinfo | None = None
    """For dates; default: the machine's."""

    def __call__(self, key: str, **values: object) -> str:
        return STRINGS[self.language][key].format(**values)

    def has(self, key: str) -> bool:
        return key in STRINGS[self.language]

    def named(self, prefix: str, name: str) -> str:
        """The word for `name` where there is one, else the name itself: steps are named by their authors."""
        key = f"{prefix}.{name}"
        return self(key) if self.has(key) else name.replace("_", " ")

    def counted(self, unit: str, count: int) -> str:
        """`1 row`, `16,204 rows`."""
        return self(f"unit.{unit}" if count == 1 else f"unit.{unit}s", count=self.number(count))

    def number(self, value: float, *, decimals: int = 0) -> str:
        return f"{value:,.{decimals}f}"

    def percent(self, share: float, *, decimals: int = 1) -> str:
        return f"{share * 100:.{decimals}f}%"

    def points(self, difference: float) -> str:
        """A difference of two shares, signed, in percentage points."""
        return self("unit.points", value=signed(difference * 100))

    def duration(self, seconds: float) -> str:
        if seconds < 60:
            return self("unit.seconds", value=f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}")
        if seconds < 3600:
            return self("unit.minutes", value=f"{seconds / 60:.1f}")
        return self("unit.hours", value=f"{seconds / 3600:.1f}")

    def ago(self, seconds: float) -> str:
        """How long ago, roughly."""
        for limit, unit, key in ((5, 1, "now"), (60, 1, "seconds"), (3600, 60, "minutes"), (86400, 3600, "hours")):
            if seconds < limit:
                return self(f"ago.{key}", value=int(seconds // unit))
        return self("ago.days", value=int(seconds // 86400))

    def ahead(self, seconds: float) -> str:
        """How far off, roughly."""
        for limit, unit, key in ((3600, 60, "minutes"), (2 * 86400, 3600, "hours")):
            if seconds < limit:
                return self(f"ahead.{key}", value=max(1, int(seconds // unit)))
        return self("ahead.days", value=int(seconds // 86400))

    def moment(self, at: float) -> str:
        """A date and a time, to the minute."""
        return f"{datetime.fromtimestamp(at, self.zone):%Y-%m-%d %H:%M}"

    def clock(self, at: float) -> str:
        return f"{datetime.fromtimestamp(at, self.zone):%H:%M:%S}"


def signed(value: float, *, decimals: int = 1) -> str:
    """With a sign, and with a true minus; zero has none."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"+{text}" if value > 0 else f"−{text}"
