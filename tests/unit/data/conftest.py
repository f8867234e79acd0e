import json
from pathlib import Path

import pytest

from components.recipes import FileSource, Ingest
from components.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """An installation with an empty workspace."""
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return Settings()


FRUIT = ("apple", "pear", "plum", "fig", "lemon", "mango", "cherry", "quince", "melon", "grape", "lime", "date")
ACTS = ("is eaten", "is cut", "was sold", "rolls away", "tastes good", "looks old")
METAL = ("iron", "copper", "zinc", "tin", "lead", "silver", "gold", "nickel", "cobalt", "chrome", "steel", "brass")
USES = ("is molten", "is cast", "was drawn", "rusts away", "rings well", "bends slowly")


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """144 different labelled sentences, two labels."""
    fruit = [
        {"text": f"the {name} {act} on day {index}", "label": "fruit"}
        for index, name in enumerate(FRUIT)
        for act in ACTS
    ]
    metal = [
        {"text": f"some {name} {use} in year {index}", "label": "metal"}
        for index, name in enumerate(METAL)
        for use in USES
    ]
    return fruit + metal


@pytest.fixture
def jsonl(tmp_path, rows):
    """Writes rows (those of `rows` by default) to a file."""

    def write(content: list[dict[str, object]] | None = None, name: str = "things.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in (rows if content is None else content)), "utf-8")
        return path

    return write


@pytest.fixture
def own():
    """The recipe of one own file."""

    def make(path: Path, **fields: object) -> Ingest:
        source = FileSource(path=path, **({"table": "things", "task": "classification"} | fields))
        return Ingest(name="own", sources=(source,))

    return make
