"""The same recipe and the same sources give the same data version, byte for byte."""

import json
from pathlib import Path

import pytest
import yaml

from components.data import versioning
from components.recipes import FileSource, Ingest, load_recipe
from components.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def _settings(workspace: Path, monkeypatch, **environment: str) -> Settings:
    for name, value in ({"BANYAN_WORKSPACE": str(workspace)} | environment).items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_an_own_file_gives_the_same_version_in_another_place_and_another_order(tmp_path, monkeypatch):
    rows = [{"text": f"row {number} of {'xyz'[number % 3]}", "label": "ab"[number % 2]} for number in range(60)]
    found = []
    for name, content in (("one", rows), ("two", rows[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "things.jsonl").write_text("\n".join(json.dumps(row) for row in content))
        source = FileSource(path=folder / "things.jsonl", table="things", task="classification")
        settings = _settings(folder / "workspace", monkeypatch)
        found.append(versioning.ingest(Ingest(name=name, sources=(source,)), settings=settings))
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_committed_pointer_is_what_a_rebuild_of_the_demos_data_gives(tmp_path, monkeypatch):
    """Promised for CPython 3.11 on Linux with the pinned pyarrow. Downloads the assets that are not there."""
    settings = _settings(tmp_path / "workspace", monkeypatch, BANYAN_ASSETS_DIR=str(ROOT / ".banyan" / "assets"))
    recipe = load_recipe(ROOT / "flows" / "recipes" / "demo-data.yaml")
    ref = versioning.ingest(recipe, settings=settings)
    committed = (ROOT / "data.dvc").read_text("utf-8")
    assert versioning.pointer(ref, settings) == committed
    assert yaml.safe_load(committed)["outs"][0]["md5"] == f"{ref.version}.dir"
