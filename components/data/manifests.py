"""What each data version is and where it came from: one JSON manifest a version, and HEAD."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.data.language import identify
from components.data.packing import INFO, PREFIX, read_info
from components.data.tables import (
    BACK_TRANSLATED,
    num_rows,
    read_split,
    table_info,
    table_names,
    table_sha256,
    target_column,
)
from components.errors import DataStoreError, UsageError
from components.refs import DataRef
from components.settings import Settings
from components.tasks import get_task

LANGUAGE_SAMPLE = 200
"""So many rows of a split are looked at for their language. Ids are hashes, so the first are as good as drawn."""


class SplitSummary(BaseModel):
    """Rows of one split, and how they are made up."""

    model_config = ConfigDict(frozen=True)

    total: int
    sources: dict[str, int]
    labels: dict[str, int]
    """Empty where the answers are free text."""
    languages: dict[str, float] = {}
    """Language → share, of a sample."""
    imputed: dict[str, int] = {}
    """Column → rows whose cell was empty and was filled in."""
    augmented: dict[str, int] = {}
    """Way → rows that were made out of others."""


class Manifest(BaseModel):
    """What a data version is and where it came from."""

    model_config = ConfigDict(frozen=True)

    ref: DataRef
    name: str
    created_at: datetime
    parent: str | None = None
    """The version that was HEAD before."""
    pointer: str
    """The text of its `.dvc` file."""
    recipe: dict[str, Any] = {}
    rows: dict[str, dict[str, SplitSummary]] = {}
    """Table → split."""
    rejects: dict[str, dict[str, int]] = {}
    """Table → reason → rows."""
    rejects_file: str = ""
    changed: dict[str, dict[str, int]] = {}
    """Table → what was done (masked, shortened, filled in) → rows."""
    num_checks: int = 0
    checks: list[dict[str, Any]] = []
    """What the gate said, one entry a check (see `validation.Check`)."""
    docs: str = ""
    """The Data Docs' index page."""
    inputs: dict[str, dict[str, Any]] = {}
    """Own table → what was read: address, hash, files by kind and encoding."""
    statistics: dict[str, dict[str, dict[str, float]]] = {}
    """Own table → source → rows in and kept, characters, words, languages."""
    seconds: dict[str, float] = {}
    """Stage → seconds."""
    tokens: dict[str, int] = {}
    """Split → tokens, of a packed corpus."""

    @property
    def is_packed(self) -> bool:
        """Whether it is a packed corpus, which never is the current version."""
        return any(table.startswith(PREFIX) for table in self.ref.tables)


def contents(folder: Path) -> dict[str, str]:
    """Table → its hash, of what lies in a version's folder; of a packed corpus `packed/<name>`."""
    if (folder / INFO).is_file():
        info = read_info(folder)
        return {PREFIX + info.name: info.sha256()}
    return {table: table_sha256(folder, table) for table in table_names(folder)}


def head(settings: Settings) -> DataRef | None:
    """The current version; None before the first ingest.

    Raises:
        DataStoreError: HEAD names a version whose manifest is gone.
    """
    path = settings.workspace.data / "HEAD"
    if not path.is_file():
        return None
    return manifest(path.read_text("utf-8").strip(), settings=settings).ref


def manifest(version: str, *, settings: Settings) -> Manifest:
    """What a version is.

    Raises:
        DataStoreError: there is no such version, or its manifest is damaged.
    """
    path = settings.workspace.data / "manifests" / f"{version}.json"
    try:
        return Manifest.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as err:
        raise DataStoreError(
            f"this workspace has no data version {version}", "list them with: banyan data log"
        ) from err
    except ValidationError as err:
        raise DataStoreError(f"{path} is damaged: {err.errors()[0]['msg']}", "ingest the recipe again") from err


def find(which: str, *, settings: Settings) -> Manifest:
    """The version whose id is `which` or begins with it, of which there must be one; `HEAD` is the current one.

    Raises:
        UsageError: there is none, or more than one.
        DataStoreError: a manifest is damaged.
    """
    if which.upper() == "HEAD":
        current = head(settings)
        if current is None:
            raise UsageError("there is no data version yet", "first: banyan ingest WHAT --task T")
        which = current.version
    ids = sorted(path.stem for path in _manifest_files(settings))
    chosen = [one for one in ids if one.startswith(which.lower())] if which else []
    if len(chosen) != 1:
        what = f"{len(chosen)} data versions begin" if chosen else "no data version begins"
        some = ", ".join(one[:12] for one in chosen or ids) or "there is none"
        raise UsageError(f"{what} with {which!r}: {some}", "list them with: banyan data log")
    return manifest(chosen[0], settings=settings)


def _manifest_files(settings: Settings) -> list[Path]:
    """Without those of versions that are being removed: their names begin with a dot."""
    found = (settings.workspace.data / "manifests").glob("*.json")
    return [path for path in found if not path.name.startswith(".")]


def versions(settings: Settings) -> list[Manifest]:
    """Every version, newest first."""
    paths = _manifest_files(settings)
    found = [manifest(path.stem, settings=settings) for path in paths]
    return sorted(found, key=lambda one: (one.created_at, one.ref.version), reverse=True)


def pointer(ref: DataRef, settings: Settings) -> str:
    """The text of the version's `.dvc` pointer, for a team that keeps it in Git."""
    return manifest(ref.version, settings=settings).pointer


def who_made(about: Manifest, table: str, *, settings: Settings) -> Manifest | None:
    """The version that an own table was read for: this one, or the nearest before it; None if that is gone."""
    one: Manifest | None = about
    known = {} if table in about.inputs else {other.ref.version: other for other in versions(settings)}
    while one is not None and table not in one.inputs:
        one = known.pop(one.parent or "", None)
    return one


def filled_by(made: Manifest, table: str) -> dict[str, str]:
    """Column that was filled in, or way of augmenting → the model versions that were asked, else the policy."""
    models = made.inputs[table].get("models", {})
    both = [models[f"back_translation, {way}"] for way in ("there", "back") if f"back_translation, {way}" in models]
    found = {BACK_TRANSLATED.partition(":")[2]: ", ".join(both)} if both else {}
    for source in made.recipe.get("sources", ()):
        if source.get("table") == table:
            answer = target_column(source["task"])
            for name, policy in (source.get("missing") or {}).items():
                column = answer if name == "answer" else name
                found[column] = models.get(f"missing {column}", policy)
    return found


def summary(version_dir: Path, table: str) -> dict[str, SplitSummary]:
    """Split → its rows, counted."""
    info = table_info(version_dir, table)
    answer = target_column(info.task)
    task = get_task(info.task) if info.labels else None
    found = {}
    for split, total in num_rows(version_dir, table).items():
        frame = read_split(version_dir, table, split)
        sources = Counter(frame["source"])
        labels = Counter(label for target in frame[answer] for label in task.labels([target])) if task else {}
        found[split] = SplitSummary(
            total=total,
            sources=dict(sorted(sources.items())),
            labels=dict(sorted(labels.items())),
            languages=_languages(frame["text"].head(LANGUAGE_SAMPLE)),
            imputed=dict(Counter(name for cell in frame.get("imputed", ()) if cell for name in cell.split(","))),
            augmented=dict(Counter(origin.partition(":")[2] for origin in frame.get("origin", ()) if ":" in origin)),
        )
    return found


def _languages(texts: Iterable[str]) -> dict[str, float]:
    counts = Counter(identify(str(text)).language for text in texts)
    return {name: round(number / counts.total(), 3) for name, number in counts.most_common()}
