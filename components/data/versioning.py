"""Data versions: immutable, kept by DVC, checked out read-only, found by one atomically moved HEAD.

<workspace>/data/
    repo/                     the DVC repository (dvc_store.py)
    staging/<name>/data/      being built: no version yet
    versions/<md5>/           read-only checkouts; a new version never moves under a running training
    manifests/<md5>.json      what a version is and where it came from; <md5>.rejects.parquet beside it
    failed/<name>/            builds that did not pass, with their reports
    docs/<name>/              Data Docs
    HEAD                      the current version's md5
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from components.data.asking import Models
from components.data.build import BuildReport, NameModels, Progress, build, silent
from components.data.dvc_store import DvcStore
from components.data.manifests import (
    Manifest,
    SplitSummary,
    contents,
    find,
    head,
    manifest,
    pointer,
    summary,
    versions,
)
from components.data.packing import INFO
from components.data.readers import parsed
from components.data.removal import end_removals, mark
from components.data.tables import (
    columns,
    table_info,
    write_split,
)
from components.data.validation import ValidationReport, validate
from components.errors import BanyanError, CheckBroken, DataStoreError, UsageError, ValidationFailed
from components.recipes import Ingest
from components.refs import DataRef
from components.settings import Settings

NUM_FAILED_KEPT = 10


__all__ = [
    "Manifest",
    "SplitSummary",
    "admit",
    "adopt",
    "check_out",
    "checkout_dir",
    "commit",
    "find",
    "head",
    "ingest",
    "manifest",
    "path_of",
    "pointer",
    "remove",
    "verify_remote",
    "versions",
]

# ---------------------------------------------------------------- reading


def path_of(ref: DataRef, settings: Settings) -> Path:
    """The version's read-only folder; comes back from the cache or the remote when it is missing.

    Raises:
        DataStoreError: the version is unknown, or the remote does not have it whole.
    """
    folder = checkout_dir(ref.version, settings)
    if not folder.is_dir():
        text = pointer(ref, settings)
        with _locked(settings):
            if not folder.is_dir():
                store = DvcStore(settings)
                pulled = store.pull(text)
                if contents(pulled) != ref.tables:
                    raise DataStoreError(f"data version {ref.version} came back otherwise than it was committed")
                is_packed = (pulled / INFO).is_file()
                if is_packed:
                    store.share(ref.version, pulled)
                _check_out(pulled, folder, is_shared=is_packed)
                if is_packed:
                    store.drop_output()
    return folder


def checkout_dir(version: str, settings: Settings) -> Path:
    """Where a version lies when it is checked out."""
    return settings.workspace.data / "versions" / version


# ---------------------------------------------------------------- writing


def commit(
    staging_dir: Path, *, settings: Settings, note: dict[str, Any] | None = None, is_current: bool = True
) -> DataRef:
    """Make the tables in `staging_dir` a data version: added, pushed, verified, checked out, and at last HEAD.

    `note` holds what the manifest is to say besides (its fields: name, recipe, rejects, …). The same tables
    give the same version; its first manifest stays. Killed at any point, the last good version stands and
    the same commit can be done again.
    With `is_current` false HEAD stays, and checkout, `staging_dir` and DVC's cache share their files, which become
    read-only.

    Raises:
        DataStoreError: DVC, its cache or its remote; or another process holds the lock too long.
    """
    data = settings.workspace.data
    tables = contents(staging_dir)
    with _locked(settings):
        _sweep(data)
        end_removals(settings)
        store = DvcStore(settings)
        for known in versions(settings):
            checked_out = checkout_dir(known.ref.version, settings).is_dir()
            if known.ref.tables == tables and checked_out and store.is_pushed(known.ref.version):
                if is_current:
                    _write_whole(data / "HEAD", known.ref.version + "\n")
                return known.ref
        text = store.add(staging_dir)
        version = re.search(r"md5: ([0-9a-f]{32})\.dir", text)
        if version is None:
            raise DataStoreError(f"DVC wrote a pointer that is not understood: {text!r}")
        ref = DataRef(version=version[1], tables=tables)
        store.push(ref.version)
        if not is_current:
            store.drop_output()  # tables are small
            store.share(ref.version, staging_dir)
        if not checkout_dir(ref.version, settings).is_dir():
            _check_out(staging_dir, checkout_dir(ref.version, settings), is_shared=not is_current)
        target = data / "manifests" / f"{ref.version}.json"
        if not target.is_file():
            said = {"name": "data"} | (note or {})
            if "rows" not in said:
                said["rows"] = {table: summary(staging_dir, table) for table in ref.tables}
            parent = _parent(tables, settings, is_current=is_current)
            made = Manifest(ref=ref, created_at=datetime.now(UTC), parent=parent, pointer=text, **said)
            if made.rejects_file:
                kept_file = target.with_name(f"{ref.version}.rejects.parquet")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(made.rejects_file, kept_file)
                made = made.model_copy(update={"rejects_file": str(kept_file)})
            _write_whole(target, made.model_dump_json(indent=1))
        if is_current:
            _write_whole(data / "HEAD", ref.version + "\n")
    return ref


def _parent(tables: dict[str, str], settings: Settings, *, is_current: bool) -> str | None:
    """The version before: the current one; of what never is the current one, the newest with the same tables."""
    if is_current:
        before = settings.workspace.data / "HEAD"
        return before.read_text("utf-8").strip() if before.is_file() else None
    return next((one.ref.version for one in versions(settings) if one.ref.tables.keys() == tables.keys()), None)


def ingest(
    recipe: Ingest,
    *,
    settings: Settings,
    progress: Progress = silent,
    names: NameModels | None = None,
    models: Models | None = None,
) -> DataRef:
    """Build, validate, commit. Tables of the current version that the recipe does not make are carried over.

    Raises:
        ValidationFailed, CheckBroken: the build is kept in `failed/` (named in the error); HEAD has not moved.
        AssetError, InputFileError, MappingError, DataError: as `build`; nothing is left behind.
    """
    with _locked(settings, "ingest", progress):  # from reading HEAD to moving it: two at once would lose one's tables
        return _ingest(recipe, settings, progress, names, models)


def _ingest(
    recipe: Ingest, settings: Settings, progress: Progress, names: NameModels | None, models: Models | None
) -> DataRef:
    before = head(settings)
    base = path_of(before, settings) if before else None
    parsed.forget(settings.workspace.inputs, all_of_them=False)
    report = build(recipe, settings=settings, base=base, progress=progress, names=names, models=models)
    how = {"rejects": report.rejects_path, "limits": recipe.limits, "accepted": base, "made": report.tables.keys()}
    validation = _gate(report.staging_dir, settings, **how)
    progress(f"validate: {validation.seconds:.1f} s, {len(validation.checks)} checks passed")
    if before is not None and base is not None and _adds_nothing(report, base):
        shutil.rmtree(report.staging_dir.parent, ignore_errors=True)
        parsed.forget(settings.workspace.inputs)
        progress(f"nothing has changed: it is version {before.version[:8]} already")
        return before
    started = datetime.now(UTC)
    ref = commit(report.staging_dir, settings=settings, note=_note(recipe, report, validation))
    progress(f"version {ref.version[:8]}: {(datetime.now(UTC) - started).total_seconds():.1f} s")
    shutil.rmtree(report.staging_dir.parent, ignore_errors=True)
    parsed.forget(settings.workspace.inputs)
    return ref


def admit(rows: pd.DataFrame, *, table: str, settings: Settings) -> DataRef:
    """The current version with split `feedback` of `table` replaced by exactly these rows; no rows, no such split.

    `rows` has the table's columns, all text. They are validated as they are: nothing is repaired here.

    Raises:
        ValidationFailed: wrong columns, nulls, duplicates, unknown labels, test rows; HEAD has not moved.
        DataStoreError, MappingError: there is no version, or it has no such table.
    """
    with _locked(settings, "ingest"):
        return _admit(rows, table, settings)


def _admit(rows: pd.DataFrame, table: str, settings: Settings) -> DataRef:
    before = head(settings)
    if before is None:
        raise DataStoreError("there is no data version to add feedback to", "ingest first")
    base = path_of(before, settings)
    info = table_info(base, table)
    staging = settings.workspace.data / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=staging, prefix=f"feedback-{os.getpid()}-"))
    shutil.copytree(base, folder / "data", copy_function=shutil.copyfile)
    feedback = folder / "data" / table / "feedback.parquet"
    feedback.unlink(missing_ok=True)
    if list(rows.columns) != list(columns(info.task)) or rows.isna().to_numpy().any():
        rows.to_parquet(feedback, index=False)  # the gate says what is wrong with it
    elif len(rows):
        write_split(folder / "data", table, "feedback", rows, task=info.task)
    validation = _gate(folder / "data", settings, tables=[table], previous=base)
    note = {
        "name": f"feedback for {table}",
        "num_checks": len(validation.checks),
        "checks": [check.model_dump(mode="json") for check in validation.checks],
        "docs": validation.docs,
        "seconds": {"validate": validation.seconds},
        "recipe": {"kind": "admit", "table": table, "num_rows": len(rows)},
    }
    ref = commit(folder / "data", settings=settings, note=note)
    shutil.rmtree(folder, ignore_errors=True)
    return ref


def check_out(ref: DataRef, folder: Path, *, settings: Settings) -> list[Path]:
    """Copy a version's files into a folder of one's own, which must be empty or not be there; the files, relative.

    Raises:
        UsageError: the folder holds something, or is a file.
        DataStoreError: as `path_of`.
    """
    content = path_of(ref, settings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and is not empty", "name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what a killed one left
    shutil.copytree(content, partial, copy_function=shutil.copyfile)
    for path in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def remove(version: str, *, settings: Settings, force: bool = False) -> int:
    """Remove a version and the objects that no other one needs; the bytes that this frees.

    Of a remote that is not the workspace's own folder nothing is deleted: other installations may live on it.
    Whether a model names the version is for the caller to know. Killed midway, the next removal or commit ends it.

    Raises:
        UsageError: it is the current version, and `force` is not given.
        DataStoreError: there is no such version, or the list of another one's objects cannot be had.
    """
    with _locked(settings, "ingest"), _locked(settings):
        data = settings.workspace.data
        about = manifest(version, settings=settings)
        others = [one for one in versions(settings) if one.ref.version != version and not one.is_packed]
        current = head(settings)
        if current is not None and current.version == version:
            if not force:
                raise UsageError(f"{version[:12]} is the current version", "ingest another first, or give --force")
            if others:
                _write_whole(data / "HEAD", others[0].ref.version + "\n")
            else:
                (data / "HEAD").unlink()
        mark(version, settings)
        return end_removals(settings) + _remove_packed(about, settings)


def _remove_packed(about: Manifest, settings: Settings) -> int:
    """The folder that a packed corpus was made in, where it still is that corpus; the bytes that this frees."""
    folder = settings.workspace.packed / about.name
    if not about.is_packed or not (folder / INFO).is_file() or contents(folder) != about.ref.tables:
        return 0
    freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1)
    shutil.rmtree(folder)
    return freed


def verify_remote(version: str, *, settings: Settings, repair: bool = False) -> tuple[list[str], list[str]]:
    """Objects of a version that its remote lacks, and those that it holds damaged; every byte is read.

    With `repair` they are sent again from this workspace, and what is returned was wrong before.

    Raises:
        DataStoreError: the remote cannot be asked, or what is lost there is lost here too.
    """
    about = manifest(version, settings=settings)
    with _locked(settings):
        store = DvcStore(settings)
        store.objects(version, about.pointer)  # brings the list where only the checkout is left
        missing = store.missing(version)
        damaged = store.damaged(version, about.pointer)
        if repair and (missing or damaged):
            store.repair(version, about.pointer, lost=[*missing, *damaged])
    return missing, damaged


def adopt(pointer_text: str, *, settings: Settings) -> DataRef:
    """Make the version that a `.dvc` pointer names one of this workspace, from the remote, and HEAD.

    Raises:
        UsageError: the text is no pointer of a data version.
        DataStoreError: the remote does not have it whole.
    """
    found = re.search(r"md5: ([0-9a-f]{32})\.dir", pointer_text)
    if found is None:
        raise UsageError("this is no pointer to a data version", "make one with: banyan data export --to data.dvc")
    with _locked(settings, "ingest"):
        if not any(one.ref.version == found[1] for one in versions(settings)):
            with _locked(settings):
                store = DvcStore(settings)
                pulled = store.pull(pointer_text)
                if not store.is_pulled_whole(found[1]) or not contents(pulled):
                    raise DataStoreError(
                        f"what the remote {store.url} gave for {found[1]} is not that data version",
                        "where it was made: banyan data verify --repair",
                    )
                staging = settings.workspace.data / "staging"
                staging.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(dir=staging, prefix=f"adopted-{os.getpid()}-"))
                shutil.copytree(pulled, folder / "data", copy_function=shutil.copyfile)
            if (folder / "data" / INFO).is_file():
                from components.data.packed_versions import commit_packed  # which commits by this module

                commit_packed(folder / "data", settings=settings)
            else:
                commit(folder / "data", settings=settings, note={"name": "adopted"})
            shutil.rmtree(folder, ignore_errors=True)
        adopted = manifest(found[1], settings=settings)
        if not adopted.is_packed:
            _write_whole(settings.workspace.data / "HEAD", found[1] + "\n")
        return adopted.ref


def _gate(staging_dir: Path, settings: Settings, **how: Any) -> ValidationReport:
    """Validate; a build that does not pass is moved to `failed/` and named in the error."""
    folder = staging_dir.parent
    try:
        return validate(staging_dir, workspace=settings.workspace, **how)
    except (ValidationFailed, CheckBroken) as err:
        failed = settings.workspace.data / "failed"
        failed.mkdir(parents=True, exist_ok=True)
        folder.rename(failed / folder.name)
        for old in sorted(failed.iterdir(), key=lambda path: path.stat().st_mtime)[:-NUM_FAILED_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        raise type(err)(f"{err.message}; the build is kept in {failed / folder.name}", err.remedy) from err
    except BanyanError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _adds_nothing(report: BuildReport, base: Path) -> bool:
    """Whether all that was built is in the current version, which may hold feedback beside it."""
    for table in report.tables:
        made = {path.name: path.read_bytes() for path in (report.staging_dir / table).iterdir()}
        there = (base / table).iterdir() if (base / table).is_dir() else ()
        if made != {path.name: path.read_bytes() for path in there if path.name != "feedback.parquet"}:
            return False
    return True


def _note(recipe: Ingest, report: BuildReport, validation: ValidationReport) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "recipe": recipe.model_dump(mode="json"),
        "rejects": report.rejects,
        "rejects_file": str(report.rejects_path),
        "changed": report.changed,
        "statistics": report.statistics,
        "inputs": {table: note.model_dump() for table, note in report.inputs.items()},
        "num_checks": len(validation.checks),
        "checks": [check.model_dump(mode="json") for check in validation.checks],
        "docs": validation.docs,
        "seconds": report.seconds | {"validate": validation.seconds},
    }


def _check_out(content: Path, folder: Path, *, is_shared: bool = False) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    how = _linked if is_shared else shutil.copyfile
    shutil.copytree(content, partial, copy_function=how, dirs_exist_ok=True)
    partial.chmod(0o755)
    for path in partial.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o444)  # folders stay writable: a person can delete a workspace
    partial.rename(folder)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _write_whole(path: Path, text: str) -> None:
    """Beside, flushed, renamed: a reader sees the old or the new, and a crash leaves one of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _sweep(data: Path) -> None:
    """Remove what killed processes left: half checkouts, and staging folders whose process is gone."""
    import psutil

    for partial in (data / "versions").glob(".*"):
        shutil.rmtree(partial, ignore_errors=True)
    for folder in (data / "staging").glob("*-*-*"):
        pid = folder.name.rsplit("-", 2)[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(settings: Settings, name: str = "data", progress: Progress = silent) -> Iterator[None]:
    """`data`: around everything that DVC does. `ingest`: around whoever makes the next version from HEAD."""
    from filelock import FileLock, Timeout

    path = settings.workspace.locks / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("another process is making a data version: waiting for it")
            lock.acquire(timeout=300)
    except Timeout as err:
        raise DataStoreError(
            f"another process has held {path} for five minutes", "wait for the running ingest, or end it"
        ) from err
    try:
        yield
    finally:
        lock.release()
