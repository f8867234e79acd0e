"""Every recipe in the repository loads, and what it names exists."""

from pathlib import Path

import pytest

from components.errors import RecipeError
from components.recipes import Finetune, Ingest, Loop, load_recipe, parse_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "flows/recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"demo-data", "library", "summary", "corpus-gpt"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_file_loads_and_survives_the_way_through_json(path: Path) -> None:
    recipe = load_recipe(path)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    assert parse_recipe(recipe.model_dump(mode="json")).sha256() == recipe.sha256()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_file_says_what_it_is_for(path: Path) -> None:
    assert path.read_text("utf-8").lstrip().startswith("#")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_a_recipe_names_exists(path: Path) -> None:
    from components.assets import load_assets
    from components.tasks import all_tasks

    recipe = load_recipe(path)
    if isinstance(recipe, Ingest):
        named = [
            a for s in recipe.sources for a in getattr(s, "assets", ()) or ([s.asset] if s.kind == "books" else [])
        ]
        assert not set(named) - set(load_assets())
    if isinstance(recipe, Finetune):
        assert not recipe.has_asset or recipe.base in load_assets()
        assert recipe.task in {task.name for task in all_tasks()}
    if isinstance(recipe, Loop):
        assert {recipe.ingest, recipe.pretrain, *recipe.finetune} <= {other.stem for other in RECIPES}


def test_a_typo_in_a_recipe_is_named_with_the_file_it_is_in(tmp_path: Path) -> None:
    good = (ROOT / "flows/recipes/library.yaml").read_text("utf-8")
    bad = tmp_path / "library.yaml"
    bad.write_text(good + "\nlerning_rate: 0.1\n", "utf-8")
    with pytest.raises(RecipeError, match=r"library\.yaml: lerning_rate: unknown field") as caught:
        load_recipe(bad)
    assert caught.value.exit_code == 2
