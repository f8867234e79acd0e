"""From the command line's words to recipes: a file of the user's own, a recipe by its name, a field changed."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import DataStoreError, RecipeError, UsageError
from components.recipes import (
    CatalogueSource,
    FileSource,
    Finetune,
    Ingest,
    Loop,
    Preference,
    Pretrain,
    Search,
    load_recipe,
    parse_recipe,
)

if TYPE_CHECKING:
    from components.settings import Settings

RECIPES = Path(__file__).parent / "recipes"


def own_data(
    what: str | Path | None,
    *,
    task: str | None = None,
    table: str | None = None,
    columns: str = "",
    licence: str | None = None,
    query: str | None = None,
    mapping: Path | None = None,
    cache: Path | None = None,
) -> Ingest:
    """The ingest recipe of one source; its name is the table's.

    Args:
        what: a file, folder, glob or address, or a database's; None where `mapping` says it.
        table: default: the name of what is read, in the letters that a table may have.
        columns: where names differ, `ours=theirs` by commas: `text=body,label=kind`.
        query: of a database: what gives the rows.
        mapping: YAML with fields of a source of kind `file`; what is given besides counts before it.
        cache: where files at an address are fetched into.

    Raises:
        UsageError: `columns` does not read as such pairs, no table can be named after the file, or no task is named.
        RecipeError: the mapping is not readable, or holds what is no field.
        InputFileError: what is to be read is missing, empty, unreadable or truncated.
        MappingError: there is no such task, or the file lacks a column.
        SourceUnreachable: an address does not answer.
    """
    from components.data.files import read_file

    fields = _mapping(mapping) | _where(what)
    pairs = [pair.partition("=") for pair in columns.split(",") if pair.strip()]
    if any(not ours.strip() or not theirs.strip() for ours, _, theirs in pairs):
        raise UsageError(f"--columns {columns!r} does not read as pairs", "for example: --columns text=body,label=kind")
    if pairs:
        fields["columns"] = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    fields |= {name: value for name, value in (("task", task), ("licence", licence), ("query", query)) if value}
    if not any(fields.get(name) for name in ("path", "url", "database")):
        raise UsageError("there is nothing to ingest", "name a file, folder or address, or a --mapping that does")
    if "task" not in fields:
        raise UsageError("no task is named", "for example: --task classification")
    if fields.get("path"):
        fields["path"] = Path(fields["path"]).expanduser().absolute()  # the worker runs elsewhere
    name = table or fields.get("table") or _table_name(fields)
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", name):
        raise UsageError(f"{name!r} is no name for a table", "give one of small letters and digits: --table reviews")
    sources = [fields | {"kind": "file", "table": name}]
    recipe: Ingest = parse_recipe({"kind": "ingest", "name": name, "sources": sources}, origin=str(mapping or "ingest"))
    [source] = recipe.sources
    assert isinstance(source, FileSource)
    missing = {
        column: "constant" if policy.startswith("model=") else policy for column, policy in source.missing.items()
    }
    checked = source.model_copy(update={"missing": missing})  # models answer on the worker, and not twice
    read_file(checked, max_chars=recipe.max_text_chars, cache=cache)  # here: a mistake is told before anything starts
    return recipe


def _where(what: str | Path | None) -> dict[str, Any]:
    """The source's field that `what` is."""
    if what is None:
        return {}
    said = str(what)
    if "://" not in said:
        return {"path": said, "url": None, "database": None}
    if said.startswith("file://"):
        return {"path": said.removeprefix("file://"), "url": None, "database": None}
    is_url = said.startswith(("http://", "https://", "s3://"))
    return {"url" if is_url else "database": said, "path": None, "database" if is_url else "url": None}


def _mapping(file: Path | None) -> dict[str, Any]:
    import yaml

    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise RecipeError(f"the mapping {file} is not readable YAML: {' '.join(str(err).split())}") from err
    if not isinstance(content, dict):
        raise RecipeError(f"the mapping {file} holds no fields", "for example: task: classification")
    return content


def _table_name(fields: dict[str, Any]) -> str:
    """From the last part of a path or address that has no wildcard; of a query, there is none."""
    said = str(fields.get("path") or (fields.get("url") or "").partition("?")[0])
    parts = [part for part in said.rstrip("/").split("/") if part and not set(part) & set("*?[")]
    stem = re.sub(r"\.[a-z0-9]{1,8}(\.(gz|zst|zstd))?$", "", parts[-1].lower()) if parts else ""
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")


def ingest_recipe(which: str) -> Ingest:
    """A whole ingest recipe by path or by name. The paths of its files are taken from beside it.

    Raises:
        RecipeError: there is no such recipe, or it is of another kind.
    """
    path = _recipe_file(which)
    recipe = load_recipe(path)
    if not isinstance(recipe, Ingest):
        raise RecipeError(f"{path} is a recipe of kind {recipe.kind}, which makes no data", "give an ingest recipe")
    content = recipe.model_dump(mode="json")
    here = path.absolute().parent  # the worker runs elsewhere
    for source in content["sources"]:
        if source.get("path"):
            source["path"] = str(here / Path(source["path"]).expanduser())
    placed: Ingest = parse_recipe(content, origin=str(path))
    return placed


def chosen_recipe(which: str, *, table: str | None, changes: list[str]) -> Pretrain | Finetune:
    """A training recipe by path or by name, with `field=value` changes.

    Raises:
        RecipeError: there is no such recipe, it trains nothing, or a change is impossible.
    """
    import yaml

    path = _recipe_file(which)
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


def training_request(
    which: str, *, table: str | None, changes: list[str]
) -> tuple[str, dict[str, Any], Pretrain | Finetune]:
    """The flow that trains by a recipe, what it is given, and the recipe; of a search, the one it is a search for.

    Raises:
        RecipeError: as `chosen_recipe`.
    """
    loaded = load_recipe(_recipe_file(which))
    chosen = chosen_recipe(loaded.recipe if isinstance(loaded, Search) else which, table=table, changes=changes)
    if isinstance(loaded, Search) and chosen.kind != "finetune":
        raise RecipeError(f"{loaded.name} searches for {chosen.name}, of kind {chosen.kind}", "name a finetune recipe")
    given = {"recipe": chosen.model_dump(mode="json")}
    if isinstance(loaded, Search):
        return loaded.kind, given | {"search": loaded.model_dump(mode="json")}, chosen
    return chosen.kind, given, chosen


def gathered(recipe: Pretrain | Finetune, settings: "Settings") -> Pretrain | Finetune:
    """What can be trained here and now: of a training by preference, with the rows that the feedback gives.

    Raises:
        DataStoreError, DataError: there is no data version, or no preference.
    """
    if not isinstance(recipe, Preference):
        return recipe
    from components.data import versioning
    from components.feedback.retraining import prefer
    from flows import policies

    data = versioning.head(settings)
    if data is None:
        raise DataStoreError("there is no data version yet", "first: banyan ingest FILE --task T")
    return prefer(recipe, data=data, settings=settings, policy=policies.screening())


def by_hash(settings: "Settings", *, pool: str) -> dict[str, Any]:
    """What a run elsewhere is given: it has no current data version, and fetches this one by its hash."""
    from components.data.manifests import head

    newest = head(settings) if pool != "cpu" else None
    return {"data": newest.model_dump(mode="json")} if newest else {}


def _recipe_file(which: str) -> Path:
    path = Path(which)
    if path.suffix or path.exists():
        return path
    path = RECIPES / f"{which}.yaml"
    if not path.exists():
        names = ", ".join(sorted(found.stem for found in RECIPES.glob("*.yaml")))
        raise RecipeError(f"there is no recipe {which}", f"give a file, or one of: {names}")
    return path


def task_of(recipe: Ingest) -> str:
    """The task whose table the first source makes; empty where it makes several."""
    source = recipe.sources[0]
    return "translation" if isinstance(source, CatalogueSource) else getattr(source, "task", "")


def loop_recipe(which: str) -> Loop:
    """A loop's recipe by path or by name. Raises RecipeError: there is none, or it is of another kind."""
    path = Path(which) if Path(which).suffix else RECIPES / f"{which}.yaml"
    recipe = load_recipe(path)
    if not isinstance(recipe, Loop):
        raise RecipeError(f"{path} is a recipe of kind {recipe.kind}, not a loop", "for example: banyan loop")
    return recipe


def recipe_for(task: str) -> str:
    """The name of a recipe in flows/recipes that trains this task; RECIPE where there is none yet."""
    for path in sorted(RECIPES.glob("*.yaml")):
        recipe = load_recipe(path)
        is_plain = isinstance(recipe, Finetune) and not isinstance(recipe, Preference)
        if is_plain and recipe.task == task and recipe.role == "candidate":
            return path.stem
    return "RECIPE"
