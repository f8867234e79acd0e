"""The documents against the code: every setting and recipe field is described, and nothing else is."""

import re
from pathlib import Path

import pytest

from components import recipes
from components.settings import Settings

ROOT = Path(__file__).parents[2]


def test_every_setting_is_described_and_nothing_else() -> None:
    text = (ROOT / "docs/guide/settings.md").read_text("utf-8")
    real = {f"BANYAN_{name.upper()}" for name in Settings.model_fields} - {"BANYAN_WORKSPACE_DIR"}
    assert set(re.findall(r"^\| `(BANYAN_\w+)`", text, flags=re.MULTILINE)) == real | {"BANYAN_WORKSPACE"}


def sections() -> dict[str, set[str]]:
    """Kind of recipe → the fields that its section lists."""
    text = (ROOT / "docs/guide/recipes.md").read_text("utf-8")
    found = {}
    for section in text.split("\n## ")[1:]:
        if kind := re.search(r"`kind: (\w+)`", section):
            found[kind[1]] = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))
    return found


def kinds() -> dict[str, set[str]]:
    classes = [cls for cls in vars(recipes).values() if isinstance(cls, type) and issubclass(cls, recipes.Recipe)]
    return {
        cls.model_fields["kind"].default: set(cls.model_fields) - {"kind"}
        for cls in classes
        if "kind" in cls.model_fields
    }


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_field_of_a_recipe_is_described_and_nothing_else(kind: str) -> None:
    assert sections()[kind] == kinds()[kind]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs").rglob("*.md")) + sorted(ROOT.glob("*.md")), ids=lambda p: p.name
)
def test_a_link_to_a_file_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", path.read_text("utf-8"))
    targets += re.findall(r'(?:src|href)="(?!https?://|#)([^"#]+)"', path.read_text("utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []
