"""`banyan data`: the data versions of this installation. Nothing here needs the stack, but for asking what models name.

Nothing heavy is imported before a command needs it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.errors import UsageError
from flows.cli_pack import pack
from flows.console import Json, read_settings, say

if TYPE_CHECKING:
    from components.data.diff import Rows
    from components.data.manifests import Manifest, SplitSummary
    from components.settings import Settings

app = typer.Typer(
    name="data",
    help="Look at data versions, compare them, take them out, remove them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command()(pack)
Version = Annotated[str, typer.Argument(help="A version's id or how it begins; HEAD is the current one.")]


@app.command()
def log(
    num: Annotated[int, typer.Option("-n", "--num", min=1, help="So many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the versions, newest first, with what changed."""
    from components.data import versioning

    settings = read_settings()
    found = versioning.versions(settings)
    head = versioning.head(settings)
    by_id = {one.ref.version: one for one in found}
    lines, facts = [], []
    for one in found[:num]:
        parent = by_id.get(one.parent or "")
        fact = _logged(one, parent, is_head=head is not None and head.version == one.ref.version)
        facts.append(fact)
        lines.append(f"{one.ref.version[:12]}  {one.created_at:%Y-%m-%d %H:%M}  {one.name}" + "  (HEAD)" * fact["head"])
        lines += [f"    {table}: {_split_line(splits)}" for table, splits in one.rows.items()]
        lines += [f"    {line}" for line in fact["changes"]]
    say(as_json, {"versions": facts}, *(lines or ["There is no data version yet. First: banyan ingest WHAT --task T"]))


@app.command()
def show(version: Version = "HEAD", as_json: Json = False) -> None:
    """Say what a version is made of, what was rejected and why."""
    from components.data import versioning

    settings = read_settings()
    one = versioning.find(version, settings=settings)
    lines = [f"Data version {one.ref.version}", f"  {one.name}, made {one.created_at:%Y-%m-%d %H:%M} UTC"]
    lines.append(f"  after {one.parent}" if one.parent else "  the first one")
    if one.tokens:
        lines.append(f"  tokens: {', '.join(f'{number:,} {split}' for split, number in one.tokens.items())}")
    for table, splits in one.rows.items():
        lines.append(f"  {table}: {_split_line(splits)}")
        lines.append(f"    sources: {_counts(_total(splits, 'sources'))}")
        if labels := _total(splits, "labels"):
            lines.append(f"    labels: {_counts(labels)}")
        lines += [f"    {line}" for line in added_lines(one, table, settings=settings)]
        if note := one.inputs.get(table):
            lines.append(
                f"    read from {note['address']}: {note['num_rows']} rows in {_counts(note['kinds'])}; "
                f"encodings: {_counts(note['encodings'])}; sha256 {note['sha256'][:12]}"
            )
            if note["left_out"]:
                lines.append(f"    files of no kind that is read: {_counts(note['left_out'])}")
        if table in one.rejects:
            lines.append(f"    rejected: {_counts(one.rejects[table])}")
        if changed := {what: number for what, number in one.changed.get(table, {}).items() if number}:
            lines.append(f"    changed in passing: {_counts(changed)}")
    if not one.is_packed:  # its documents are checked one by one while they are packed
        lines.append(f"  validation: {one.num_checks} checks passed; {one.docs or 'no report was kept'}")
    if one.rejects_file:
        lines.append(f"  the rejected rows lie in {one.rejects_file}")
    say(as_json, one.model_dump(mode="json"), *lines)


@app.command()
def diff(before: Version, after: Version = "HEAD", as_json: Json = False) -> None:
    """Say which rows were added, removed, changed or moved."""
    from components.data import versioning
    from components.data.diff import diff as compare

    settings = read_settings()
    old, new = (versioning.find(which, settings=settings).ref for which in (before, after))
    found = compare(versioning.path_of(old, settings), versioning.path_of(new, settings))
    lines = [f"{old.version[:12]} → {new.version[:12]}"]
    for table, change in found.items():
        what = " (new)" if change.is_new else " (gone)" if change.is_gone else ""
        lines.append(f"  {table}{what}: {change.same} rows are the same")
        for kind in ("added", "removed", "changed", "moved"):
            lines += _change_lines(kind, getattr(change, kind))
    if not found:
        lines.append("  no table differs")
    tables = {table: change.model_dump() for table, change in found.items()}
    say(as_json, {"before": old.version, "after": new.version, "tables": tables}, *lines)


@app.command()
def checkout(
    version: Version,
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    as_json: Json = False,
) -> None:
    """Copy a version's files into a folder."""
    from components.data import versioning

    settings = read_settings()
    ref = versioning.find(version, settings=settings).ref
    files = versioning.check_out(ref, folder.expanduser().absolute(), settings=settings)
    facts = {"version": ref.version, "folder": str(folder), "files": [str(file) for file in files]}
    say(as_json, facts, f"{len(files)} files of {ref.version[:12]} are in {folder}")


@app.command()
def rm(
    version: Version,
    force: Annotated[
        bool, typer.Option("--force", help="Also the current version, or one that a registered model names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove a version that nothing needs.

    Which models name it is asked of the running stack.
    """
    from components.data import versioning

    settings = read_settings()
    ref = versioning.find(version, settings=settings).ref
    if not force:
        _check_no_model_names(ref.version, settings)
    freed = versioning.remove(ref.version, settings=settings, force=force)
    facts = {"version": ref.version, "freed_bytes": freed}
    say(as_json, facts, f"{ref.version[:12]} is removed; {freed / 1e6:.1f} MB are free")


@app.command()
def export(
    version: Version = "HEAD",
    to: Annotated[Path | None, typer.Option("--to", help="Write it to this file instead of printing it.")] = None,
    as_json: Json = False,
) -> None:
    """Give a version's `.dvc` pointer, for a team that keeps it in Git."""
    from components.data import versioning

    one = versioning.find(version, settings=read_settings())
    facts = {"version": one.ref.version, "pointer": one.pointer, "file": str(to) if to else None}
    if to is None:
        say(as_json, facts, one.pointer.rstrip())
        return
    to.write_text(one.pointer, "utf-8")
    say(as_json, facts, f"The pointer of {one.ref.version[:12]} is in {to}")


@app.command()
def adopt(
    pointer: Annotated[Path, typer.Argument(help="A `.dvc` file that `banyan data export` wrote.")],
    as_json: Json = False,
) -> None:
    """Fetch a version that another installation pushed to the remote, and make it the current one here."""
    from components.data import versioning

    ref = versioning.adopt(_text_of(pointer), settings=read_settings())
    say(as_json, {"version": ref.version, "tables": ref.tables}, f"{ref.version[:12]} is the current version")


def _text_of(pointer: Path) -> str:
    try:
        return pointer.expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"{pointer} cannot be read: {err}", "make one with: banyan data export --to data.dvc") from err


@app.command()
def verify(
    version: Version = "HEAD",
    repair: Annotated[bool, typer.Option("--repair", help="Send what is lost or damaged again, from here.")] = False,
    as_json: Json = False,
) -> None:
    """Read a version in the remote byte by byte; 1 where an object is lost or damaged and was not repaired."""
    from components.data import versioning

    settings = read_settings()
    ref = versioning.find(version, settings=settings).ref
    missing, damaged = versioning.verify_remote(ref.version, settings=settings, repair=repair)
    found = f"{len(missing)} objects of {ref.version[:12]} are missing from the remote or torn, {len(damaged)} damaged"
    is_whole = not (missing or damaged)
    line = f"{ref.version[:12]} is whole in the remote" if is_whole else found + "; repaired" * repair
    say(
        as_json,
        {"version": ref.version, "missing": missing, "damaged": damaged, "repaired": repair and not is_whole},
        line,
    )
    if not is_whole and not repair:
        raise typer.Exit(1)


# ---------------------------------------------------------------- shared


def _logged(one: "Manifest", parent: "Manifest | None", *, is_head: bool) -> dict[str, Any]:
    return {
        "version": one.ref.version,
        "name": one.name,
        "created_at": one.created_at.isoformat(),
        "parent": one.parent,
        "head": is_head,
        "rows": {table: {split: rows.total for split, rows in splits.items()} for table, splits in one.rows.items()},
        "sources": {table: _total(splits, "sources") for table, splits in one.rows.items()},
        "changes": _changes(one, parent),
    }


def _changes(one: "Manifest", parent: "Manifest | None") -> list[str]:
    """What differs from the version before, as far as the manifests say; `banyan data diff` says it row by row."""
    if parent is None:
        return ["the version before it is gone"] if one.parent else []
    lines = []
    for table in sorted({*one.ref.tables, *parent.ref.tables}):
        if one.ref.tables.get(table) == parent.ref.tables.get(table):
            continue
        now = sum(split.total for split in one.rows.get(table, {}).values())
        was = sum(split.total for split in parent.rows.get(table, {}).values())
        what = "new" if table not in parent.ref.tables else "gone" if table not in one.ref.tables else "changed"
        lines.append(f"{table} {what}: {now - was:+d} rows" if what == "changed" else f"{table} {what}")
    return lines


def _total(splits: "Mapping[str, SplitSummary]", what: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for split in splits.values():
        for name, number in getattr(split, what).items():
            found[name] = found.get(name, 0) + number
    return found


def added_lines(one: "Manifest", table: str, *, settings: "Settings") -> list[str]:
    """What in a table did not come with it: cells that were filled in and rows that were made, and by what."""
    from components.data.manifests import filled_by, who_made

    splits = one.rows.get(table, {})
    imputed, augmented = _total(splits, "imputed"), _total(splits, "augmented")
    if not imputed and not augmented:
        return []
    made = who_made(one, table, settings=settings)
    by = filled_by(made, table) if made else {}
    lines = [f"{number} rows with a {column} filled in" + _by(by, column) for column, number in imputed.items()]
    return lines + [f"{number} rows made by {way}" + _by(by, way) for way, number in augmented.items()]


def _by(by: Mapping[str, str], what: str) -> str:
    return f": {by[what]}" if what in by else ""


def _split_line(splits: "Mapping[str, SplitSummary]") -> str:
    return ", ".join(f"{rows.total} {split}" for split, rows in splits.items())


def _counts(counts: Mapping[str, int], most: int = 8) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(f"{number} {name}" for name, number in ordered[:most]) + more or "none"


def _change_lines(kind: str, rows: "Rows") -> list[str]:
    if not rows.total:
        return []
    parts = [f"by {name}: {_counts(counts)}" for name, counts in _breakdowns(rows) if counts]
    lines = [f"    {rows.total} {kind}; {'; '.join(parts)}"]
    for row in rows.examples:
        answer = f" → {row['answer']}" if row["answer"] else ""
        lines.append(
            f"      {row['id']} {row['text']}{answer}" + (f" (was {row['before']})" if "before" in row else "")
        )
    return lines


def _breakdowns(rows: "Rows") -> list[tuple[str, dict[str, int]]]:
    found = [("split", rows.splits), ("source", rows.sources), ("label", rows.labels)]
    return [*found, ("column that was filled in", rows.imputed)]


def _check_no_model_names(version: str, settings: "Settings") -> None:
    from components.errors import RegistryUnavailable, ServiceDown
    from components.registry import Registry
    from components.supervisor import addresses

    try:
        registry = Registry(addresses(settings).mlflow)
        infos = [info for name in registry.names() for info in registry.versions(name)]
    except (ServiceDown, RegistryUnavailable) as err:
        raise UsageError(
            f"whether a model names {version[:12]} cannot be told: {err.message}", "start the stack, or give --force"
        ) from err
    named = [str(info.ref) for info in infos if info.data_version == version]
    if named:
        raise UsageError(
            f"{version[:12]} is what {', '.join(named)} learned from",
            "keep it: without it they cannot be verified; or give --force",
        )
