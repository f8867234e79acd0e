"""From the command line's words to recipes: a file of the user's own, a recipe by its name, a field changed."""

import re
from pathlib import Path
from typing import Any

from components.errors import RecipeError, UsageError
from components.recipes import FileSource, Finetune, Ingest, Pretrain, load_recipe, parse_recipe

RECIPES = Path(__file__).parent / "recipes"


def own_data(file: Path, *, task: str, table: str | None, columns: str, licence: str) -> Ingest:
    """The ingest recipe of one file; its name is the table's.

    Args:
        table: default: the file's name, in the letters that a table may have.
        columns: where names differ, `ours=theirs` by commas: `text=body,label=kind`.

    Raises:
        UsageError: `columns` does not read as such pairs, or no table can be named after the file.
        InputFileError: the file is missing, empty, unreadable or truncated.
        MappingError: there is no such task, or the file lacks a column.
    """
    from components.data.files import read_file

    pairs = [pair.partition("=") for pair in columns.split(",") if pair.strip()]
    if any(not ours.strip() or not theirs.strip() for ours, _, theirs in pairs):
        raise UsageError(f"--columns {columns!r} does not read as pairs", "for example: --columns text=body,label=kind")
    name = table or re.sub(r"[^a-z0-9_-]+", "-", file.stem.lower()).strip("-_")
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", name):
        raise UsageError(f"{name!r} is no name for a table", "give one of small letters and digits: --table reviews")
    source = FileSource(
        path=file.expanduser().absolute(),
        table=name,
        task=task,
        columns={ours.strip(): theirs.strip() for ours, _, theirs in pairs},
        licence=licence,
    )
    recipe: Ingest = parse_recipe({"kind": "ingest", "name": name, "sources": [source.model_dump()]})
    read_file(source, max_chars=recipe.max_text_chars)  # here, so that a mistake is told before anything is started
    return recipe


def chosen_recipe(which: str, *, table: str | None, changes: list[str]) -> Pretrain | Finetune:
    """A training recipe by path or by name, with `field=value` changes.

    Raises:
        RecipeError: there is no such recipe, it trains nothing, or a change is impossible.
    """
    import yaml

    path = Path(which)
    if not path.suffix and not path.exists():
        path = RECIPES / f"{which}.yaml"
        if not path.exists():
            names = ", ".join(sorted(found.stem for found in RECIPES.glob("*.yaml")))
            raise RecipeError(f"there is no recipe {which}", f"give a file, or one of: {names}")
    recipe = load_recipe(path)
    if not isinstance(recipe, Pretrain | Finetune):
        raise RecipeError(f"{path} is a recipe of kind {recipe.kind}, which trains nothing", "give a finetune recipe")
    content: dict[str, Any] = recipe.model_dump(mode="json")
    if table is not None:
        content |= {"table": table, "name": table}
    for change in changes:
        field, sign, value = change.partition("=")
        if not sign:
            raise RecipeError(f"--set {change!r} does not read as field=value", "for example: --set num_epochs=3")
        content[field.strip()] = yaml.safe_load(value)
    chosen: Pretrain | Finetune = parse_recipe(content, origin=str(path))
    return chosen
