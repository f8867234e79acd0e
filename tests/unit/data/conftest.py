import json
from pathlib import Path

import pytest

from components.data import versioning
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


def _sentences() -> list[dict[str, str]]:
    fruit = [(f"the {name} {act} on day {day}", "fruit") for day, name in enumerate(FRUIT) for act in ACTS]
    metal = [(f"some {name} {use} in year {year}", "metal") for year, name in enumerate(METAL) for use in USES]
    return [{"text": text, "label": label} for text, label in fruit + metal]


@pytest.fixture
def rows() -> list[dict[str, str]]:
    """144 different labelled sentences, two labels."""
    return _sentences()


@pytest.fixture(scope="session")
def one_version(tmp_path_factory) -> Path:
    """A workspace with one version of `rows`; copy it, do not change it."""
    folder = tmp_path_factory.mktemp("one-version")
    path = folder / "things.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in _sentences()), "utf-8")
    source = FileSource(path=path, table="things", task="classification")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_WORKSPACE", str(folder / "workspace"))
        versioning.ingest(Ingest(name="own", sources=(source,)), settings=Settings())
    return folder / "workspace"


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
