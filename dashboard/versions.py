"""The data page's door to one version: its checks, its rejects, and how it differs from another. Nothing here draws."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import BanyanError
from components.settings import Settings
from dashboard.records import StoreError

if TYPE_CHECKING:
    from components.data.diff import TableDiff
    from components.data.manifests import Manifest

NUM_EXAMPLES = 3
EXAMPLE_CHARS = 200


@dataclass(frozen=True)
class CheckRow:
    """One expectation of the gate."""

    batch: str
    meaning: str
    success: bool
    severity: str
    num_unexpected: int
    num_looked_at: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Rejected:
    """The rows of a table that one reason kept out."""

    table: str
    reason: str
    num_rows: int
    examples: tuple[Mapping[str, str], ...]
    """text (masked), answer and source, of a few; no text where none is kept."""


@dataclass(frozen=True)
class Added:
    """What in a table did not come with it: cells of a column that were filled in, or rows that were made."""

    table: str
    what: str
    """The column, or the way."""
    num_rows: int
    by: str
    """The model versions that were asked, else the recipe's policy; '' where nobody knows any more."""
    is_column: bool


@dataclass(frozen=True)
class VersionFacts:
    """What a version's manifest and rejects say."""

    languages: Mapping[str, Mapping[str, float]]
    """Table → language → share of a sample; empty for versions that did not look."""
    changed: Mapping[str, Mapping[str, int]]
    """Table → what was done in passing → rows."""
    added: tuple[Added, ...]
    checks: tuple[CheckRow, ...]
    rejected: tuple[Rejected, ...]


def facts(settings: Settings, version: str) -> VersionFacts:
    """Of one version.

    Raises:
        StoreError: the version is gone, or what lies there is damaged.
    """
    with _translated():
        from components.data import versioning

        about = versioning.manifest(version, settings=settings)
        return VersionFacts(
            languages={table: _mixed(splits) for table, splits in about.rows.items()},
            changed={table: {what: n for what, n in done.items() if n} for table, done in about.changed.items()},
            added=tuple(_added(about, settings)),
            checks=tuple(_check(check) for check in about.checks),
            rejected=tuple(_rejected(Path(about.rejects_file))) if about.rejects_file else (),
        )


def compare(settings: Settings, before: str, after: str) -> "dict[str, TableDiff]":
    """Table → what is different; tables that are equal are left out.

    Raises:
        StoreError: one of the two cannot be had.
    """
    with _translated():
        from components.data import versioning
        from components.data.diff import diff

        folders = [
            versioning.path_of(versioning.manifest(one, settings=settings).ref, settings) for one in (before, after)
        ]
        return diff(folders[0], folders[1])


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BanyanError as err:
        raise StoreError("data", err.message, err.remedy, is_down=False) from err
    except (OSError, KeyError, ValueError) as err:
        raise StoreError("data", f"the data store holds what is not understood: {err}", is_down=False) from err


def _added(about: "Manifest", settings: Settings) -> Iterator[Added]:
    from components.data.manifests import filled_by, who_made

    for table, splits in sorted(about.rows.items()):
        imputed = sum((Counter(split.imputed) for split in splits.values()), Counter())
        made = sum((Counter(split.augmented) for split in splits.values()), Counter())
        origin = who_made(about, table, settings=settings) if imputed or made else None
        by = filled_by(origin, table) if origin else {}
        for counted in (imputed, made):
            for what, number in sorted(counted.items()):
                yield Added(table, what, number, by.get(what, ""), is_column=counted is imputed)


def _mixed(splits: Mapping[str, Any]) -> dict[str, float]:
    """Over the splits, each by its rows."""
    total = sum(split.total for split in splits.values() if split.languages) or 1
    found: dict[str, float] = {}
    for split in splits.values():
        for language, share in split.languages.items():
            found[language] = found.get(language, 0.0) + share * split.total / total
    return found


def _check(check: Mapping[str, Any]) -> CheckRow:
    return CheckRow(
        batch=check["batch"],
        meaning=check["meaning"],
        success=check["success"],
        severity=check["severity"],
        num_unexpected=check["unexpected_count"],
        num_looked_at=check["element_count"],
        examples=tuple(check["examples"]),
    )


def _rejected(path: Path) -> Iterator[Rejected]:
    """By table, then the most frequent reason first; texts are read of the examples alone."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not path.is_file():
        return
    rows = pq.read_table(path, columns=["table", "reason", "text", "answer", "source"])
    heads = pc.list_element(pc.split_pattern(rows["reason"], ":", max_splits=1), 0)
    rows = rows.append_column("head", heads)
    counted = rows.group_by(["table", "head"]).aggregate([([], "count_all")]).to_pylist()
    for one in sorted(counted, key=lambda row: (row["table"], -row["count_all"], row["head"])):
        mine = rows.filter(pc.and_(pc.equal(rows["table"], one["table"]), pc.equal(rows["head"], one["head"])))
        some = mine.slice(0, NUM_EXAMPLES).to_pylist()
        examples = tuple(
            {"text": _shortened(row["text"]), "answer": _shortened(row["answer"]), "source": row["source"] or "",
             "reason": row["reason"]}
            for row in some
        )  # fmt: skip
        yield Rejected(one["table"], one["head"], one["count_all"], examples)


def _shortened(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= EXAMPLE_CHARS else flat[: EXAMPLE_CHARS - 1] + "…"
