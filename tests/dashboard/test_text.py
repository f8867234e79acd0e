"""The two languages say the same things."""

import re
import string
from pathlib import Path

import pytest

from components.knowledge import RELATIONS
from dashboard.text import STRINGS, Words, signed
from dashboard.viewmodels.shapes import step_name

ROOT = Path(__file__).parents[2]
# Where a page builds a key from a name, any key of that family counts as used.
BUILT = re.compile(
    r"^(page|store|state|stage|metric|split|flow|step|reason|service|family|application|fate|kind|runs\.(state|by|bell|outcome|cancel|retry)|trigger|ahead|evolution\.measured|line\.verdict|"
    r"models\.role|role|actor|action|outcome|gate\.(finding|rule|slice|length|verdict|tab|calibration|probe)|cost\.column|data\.(done|diff|made_by)|models\.column|models\.journal|models\.verdict|feedback\.said|feedback\.channel|fate\.detail|ago|unit|curves|documents\.column|relation|mistakes\.column|files\.column)\."
)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys() -> None:
    assert set(STRINGS["en"]) == set(STRINGS["zh"])


def test_both_languages_fill_in_the_same_values() -> None:
    different = {key for key, text in STRINGS["en"].items() if placeholders(text) != placeholders(STRINGS["zh"][key])}
    assert not different


def test_every_relation_of_a_graph_has_its_words() -> None:
    assert {f"relation.{kind}" for kind in RELATIONS} <= set(STRINGS["en"])


def test_every_step_of_a_flow_has_its_words() -> None:
    source = (ROOT / "flows" / "steps.py").read_text("utf-8")
    names = [name for name in re.findall(r'task_run_name="([^"]+)"', source) if not name.startswith("{")]
    assert len(names) > 20, "the pattern finds no steps any more"
    shown = {name: step_name(Words("zh"), re.sub(r"{[^}]*}", "x", name)) for name in names}
    assert not {name for name, text in shown.items() if not re.search("[一-龥]", text)}


def test_no_string_is_empty() -> None:
    assert not [
        (language, key) for language, table in STRINGS.items() for key, text in table.items() if not text.strip()
    ]


def test_what_has_english_words_in_it_is_not_the_same_in_chinese() -> None:
    proper = {"store.prefect", "service.prefect", "service.mlflow", "models.column.link", "gate.p", "cost.gb"}
    same = {key for key, text in STRINGS["en"].items() if text == STRINGS["zh"][key]} - proper
    bare = {key: re.sub(r"\{\w+\}", "", STRINGS["en"][key]) for key in same if not key.startswith("family.")}
    assert not [key for key, text in bare.items() if re.search(r"[a-z]{3}", text)]


def test_every_key_that_pages_ask_for_exists_and_none_is_left_over() -> None:
    files = [path for path in (ROOT / "dashboard").rglob("*.py") if "text_" not in path.name]
    source = "\n".join(path.read_text("utf-8") for path in files)
    known = set(STRINGS["en"])
    asked = set(re.findall(r'(?:\b(?:say|words)|words\(\))\(\s*"([a-z][\w.-]*)"', source))
    assert asked > {"page.ecosystem", "runs.retrain"}, "the pattern finds no keys any more"
    assert not asked - known
    quoted = set(re.findall(r"""["']([a-z]+(?:\.[\w-]+)*)["']""", source))
    assert not {key for key in known - quoted if not BUILT.match(key) and key.removesuffix(".hint") not in quoted}


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0.0"), (10.24, "+10.2"), (-3.0, "−3.0"), (-0.04, "0.0"), (0.049, "0.0")]
)
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(value: float, written: str) -> None:
    assert signed(value) == written


def test_numbers_are_written_as_people_write_them() -> None:
    en, zh = Words("en"), Words("zh")
    assert en.counted("row", 1) == "1 row"
    assert en.counted("row", 16_204) == "16,204 rows"
    assert zh.counted("row", 16_204) == "16,204 行"
    assert en.percent(0.573) == "57.3%"
    assert zh.points(0.098) == "+9.8 个百分点"
    assert [en.duration(s) for s in (0.42, 41.0, 95.0, 7200.0)] == ["0.4 s", "41 s", "1.6 min", "2.0 h"]
    assert [en.ago(s) for s in (1, 42, 61, 7200, 200_000)] == [
        "just now",
        "42 s ago",
        "1 min ago",
        "2 h ago",
        "2 d ago",
    ]


def test_every_reason_for_leaving_a_row_out_is_said_in_both_languages() -> None:
    """The reasons are the constants of two modules of ours, whose values travel as they are."""
    from components.data import cleaning
    from components.feedback import reasons as refusals

    constants = [item for part in (cleaning, refusals) for item in vars(part).items()]
    reasons = {value for name, value in constants if name.isupper() and isinstance(value, str)}
    assert len(reasons) > 20
    assert not {reason for reason in reasons if not Words("zh").has(f"reason.{reason}")}


def test_a_name_without_a_word_of_its_own_is_shown_as_it_is() -> None:
    assert Words("zh").named("flow", "fold_the_laundry") == "fold the laundry"
