"""A workspace in one file, taken while the stack runs, and put back somewhere else.

What can be had again is left out: assets (pinned by hash), checked-out data versions and served models (both come back
from their stores), checkpoints, logs. What lies elsewhere by configuration (PostgreSQL, an S3 remote) has backups of
its own, and is named. The file holds the key of the pseudonyms: keep it as you keep a password.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from components.errors import DataStoreError, InputFileError, LedgerError, UsageError, WorkspaceBusy
from components.settings import Settings

FORMAT = 1
INDEX = "BACKUP.json"
DATABASES = ("ledger.db", "mlflow/mlflow.db", "prefect/prefect.db")
FILES = (
    "journal.head",
    "secrets",
    "retrain-when.yaml",
    "screening.yaml",
    "data/HEAD",
    "data/manifests",
    "data/docs",
    "data/failed",
)
"""Before what they point to: `remote` and `mlflow/artifacts` only ever grow, so what is read later has it all."""
STORES = ("remote", "mlflow/artifacts", "prefect/results")
KEPT_IN_PLACE = {"assets", "logs", "locks"}
"""What a workspace may hold already when a backup is put back into it."""

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all)."""


@dataclass(frozen=True)
class Backup:
    path: Path
    num_files: int
    size_bytes: int
    elsewhere: tuple[str, ...]
    """Stores that are not in the file because they lie elsewhere."""


@dataclass(frozen=True)
class Restored:
    root: Path
    num_files: int
    num_answers: int
    num_feedback: int
    num_journal_entries: int
    data_version: str | None
    elsewhere: tuple[str, ...]


def backup(settings: Settings, *, to: Path, progress: Progress = lambda _, __: None) -> Backup:
    """Write the workspace into the new file `to` (tar; mode 0600). A running stack is not disturbed.

    Raises:
        UsageError: `to` is there already, or lies in the workspace; or there is nothing to back up.
        DataStoreError: it cannot be written; nothing is left.
    """
    root = settings.workspace.root
    if to.exists():
        raise UsageError(f"{to} is there already", "name a new file")
    if to.absolute().is_relative_to(root):
        raise UsageError(f"{to} lies in the workspace that it is to keep", "name a file elsewhere")
    if not any((root / name).exists() for name in (*DATABASES, "data/HEAD")):
        raise UsageError(f"there is nothing in {root} to back up", "is BANYAN_WORKSPACE the right folder?")
    elsewhere = _elsewhere(settings)
    beside = to.with_name(f".{to.name}.{os.getpid()}.part")
    index: dict[str, Any] = {"format": FORMAT, "banyan": version("banyan-llm"), "root": str(root), "at": time.time()}
    try:
        with tempfile.TemporaryDirectory(dir=to.absolute().parent, prefix=".banyan-backup-") as scratch:
            snapshots = _snapshots(settings, Path(scratch))
            members = [*snapshots, *_files(root, FILES[1:]), *_files(root, STORES)]
            total = sum(path.stat().st_size for _, path in members)
            hashes: dict[str, dict[str, object]] = {}
            done = 0
            with beside.open("xb") as out:
                os.fchmod(out.fileno(), 0o600)
                with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    for name, path in members:
                        hashes[name] = _add(tar, name, path)
                        done += int(str(hashes[name]["size"]))
                        progress(done, total)
                    _add_bytes(tar, INDEX, json.dumps({**index, "elsewhere": elsewhere, "files": hashes}).encode())
                out.flush()
                os.fsync(out.fileno())
        beside.rename(to)
    except OSError as err:
        raise DataStoreError(f"{to} cannot be written: {err.strerror or err}", "free space, or name another") from err
    finally:
        beside.unlink(missing_ok=True)
    return Backup(to, len(hashes), to.stat().st_size, elsewhere)


def restore(settings: Settings, *, source: Path) -> Restored:
    """Put a backup back as the settings' workspace, which must be new, and verify what came.

    Every file is compared with the hash that was taken when it was read, then the databases and the journal's chain are
    checked; until all of that is well, the workspace stays as it was. Last, the current data version is checked out.

    Raises:
        InputFileError: `source` is no backup, or is damaged.
        UsageError: the workspace holds something already.
        WorkspaceBusy: a stack runs on it.
        LedgerError: what came is whole, and does not verify.
        DataStoreError: the current data version cannot be checked out of the remote that came with it.
    """
    from components.data import versioning
    from components.supervisor import is_running, read_stack

    root = settings.workspace.root
    stack = read_stack(settings)
    if stack and is_running(stack):
        raise WorkspaceBusy(f"a stack runs on {root}", "stop it with: banyan down")
    there = {path.name for path in root.iterdir()} if root.is_dir() else set()
    if there - KEPT_IN_PLACE - {"stack.json"}:
        raise UsageError(
            f"{root} holds a workspace already ({', '.join(sorted(there - KEPT_IN_PLACE))})",
            "move it away, or name another place: BANYAN_WORKSPACE=…",
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}-restoring-"))
    try:
        index = _extract(source, scratch)
        _move_paths(scratch, old=str(index["root"]), new=str(root))
        num_entries = _verify(settings.model_copy(update={"workspace_dir": scratch}))
        for name in sorted(there & KEPT_IN_PLACE):
            (root / name).rename(scratch / name)
        if there:
            shutil.rmtree(root)
        scratch.rename(root)
    finally:
        if scratch.is_dir():
            for name in sorted(there & KEPT_IN_PLACE):  # it failed half-way: back to where they were
                if (scratch / name).exists():
                    (scratch / name).rename(root / name)
            shutil.rmtree(scratch)
    head = versioning.head(settings)
    if head is not None and settings.data_remote is None:
        versioning.path_of(head, settings)  # compares each table's hash
    return Restored(
        root=root,
        num_files=len(index["files"]),
        num_answers=_num_rows(root, "answers"),
        num_feedback=_num_rows(root, "feedback"),
        num_journal_entries=num_entries,
        data_version=head.version if head else None,
        elsewhere=tuple(index["elsewhere"]),
    )


# ---------------------------------------------------------------- taking


def _elsewhere(settings: Settings) -> tuple[str, ...]:
    """Stores outside the workspace, by what the settings call them; addresses may hold passwords and are not told."""
    given = {
        "the ledger (BANYAN_LEDGER_URL)": settings.ledger_url,
        "the data remote (BANYAN_DATA_REMOTE)": settings.data_remote,
        "MLflow (BANYAN_MLFLOW_URL)": settings.mlflow_url,
        "Prefect (BANYAN_PREFECT_URL)": settings.prefect_url,
    }
    return tuple(name for name, value in given.items() if value)


def _snapshots(settings: Settings, scratch: Path) -> list[tuple[str, Path]]:
    """Consistent copies of the databases, and of the journal's head: no alias moves between them."""
    root = settings.workspace.root
    settings.workspace.locks.mkdir(parents=True, exist_ok=True)
    found = []
    with FileLock(settings.workspace.locks / "journal.lock"):
        head = root / "journal.head"
        if head.is_file():
            shutil.copyfile(head, scratch / "journal.head")
            found.append(("journal.head", scratch / "journal.head"))
        for name in DATABASES:
            if (root / name).is_file():
                copy = scratch / name.replace("/", "-")
                with _opened(root / name) as database, _opened(copy) as target:
                    database.backup(target)  # one read transaction: writers go on beside it
                found.append((name, copy))
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        yield database


def _files(root: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for name in names:
        top = root / name
        paths = [top] if top.is_file() else sorted(top.rglob("*")) if top.is_dir() else []
        yield from ((path.relative_to(root).as_posix(), path) for path in paths if path.is_file())


class _Hashing(io.RawIOBase):
    """Reads through to a file and hashes what passes: a file is read once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.sha256 = hashlib.sha256()

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self.sha256.update(chunk)
        return len(chunk)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _add(tar: tarfile.TarFile, name: str, path: Path) -> dict[str, object]:
    info = tar.gettarinfo(path, arcname=name)
    with io.BufferedReader(raw := _Hashing(path), 1 << 20) as content:
        tar.addfile(info, content)
        return {"size": info.size, "sha256": raw.sha256.hexdigest()}


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), 0o600, int(time.time())
    tar.addfile(info, io.BytesIO(content))


# ---------------------------------------------------------------- putting back


def _extract(source: Path, folder: Path) -> dict[str, Any]:
    """The index, once every file that it names lies in `folder` as it was."""
    damaged = "use another backup: of this one nothing was put back"
    if not source.is_file():
        raise InputFileError(f"there is no file {source}", "name a file that `banyan backup` wrote")
    found: dict[str, str] = {}
    try:
        with tarfile.open(source, "r:") as tar:
            for member in tar:
                if not member.isfile() or ".." in PurePosixPath(member.name).parts:
                    raise InputFileError(f"{source} is no backup of ours: it holds {member.name!r}", damaged)
                tar.extract(member, folder, filter="data")
                found[member.name] = _sha256(folder / member.name)
        index: dict[str, Any] = json.loads((folder / INDEX).read_text("utf-8"))
    except (tarfile.TarError, OSError, EOFError, ValueError) as err:
        raise InputFileError(f"{source} is no backup, or is cut off: {err}", damaged) from err
    if index.get("format") != FORMAT:
        raise InputFileError(f"{source} is of format {index.get('format')}, and {FORMAT} is read", "upgrade Banyan")
    (folder / INDEX).unlink()
    for name, kept in index["files"].items():
        if found.pop(name, None) != kept["sha256"]:
            raise InputFileError(f"{source} is damaged: {name} is not what was backed up", damaged)
    if extra := sorted(set(found) - {INDEX}):
        raise InputFileError(f"{source} holds {extra[0]}, which its index does not know", damaged)
    return index


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move_paths(folder: Path, *, old: str, new: str) -> None:
    """Manifests name their rejects and reports by absolute path."""
    for path in (folder / "data" / "manifests").glob("*.json"):
        path.write_text(path.read_text("utf-8").replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]), "utf-8")


def _verify(settings: Settings) -> int:
    """The number of entries in the journal, once the databases and its chain are found whole."""
    from components.ledger.journal import Journal
    from components.ledger.store import Ledger

    root = settings.workspace.root
    for name in DATABASES:
        if (root / name).is_file():
            with _opened(root / name) as database:
                [said] = database.execute("PRAGMA integrity_check").fetchone()
            if said != "ok":
                raise LedgerError(f"the database {name} came back damaged: {said}", "use another backup")
    if not settings.workspace.ledger.is_file():
        return 0
    with Ledger(settings) as ledger:
        health = Journal(ledger, settings.workspace).verify()
    if not health.ok:
        raise LedgerError(f"the journal does not verify: {health.problems[0]}", "use another backup")
    return health.num_entries


def _num_rows(root: Path, table: str) -> int:
    if not (root / "ledger.db").is_file():
        return 0
    with _opened(root / "ledger.db") as database:
        [count] = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  # a name of ours
    return int(count)
