"""DVC at its boundary: one repository in the workspace, pushes that are verified, errors translated.

A push killed while it collects leaves a partial index in DVC's site cache; the next push then believes it,
sends a part, exits 0, and `dvc status -c` calls it in sync (DVC 3.67.1). So the site cache is our own, its index
is dropped before every push, and afterwards each object of the version is looked for in the remote.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.data.remotes import failures, remote_of, without_secrets
from components.errors import DataStoreError
from components.settings import Settings

OUTPUT = "data"
"""The tracked folder; its pointer is `data.dvc`."""
NUM_READERS = 8
"""Of a remote that is read through: most of the time goes by waiting for it."""


class DvcStore:
    """The DVC repository of a workspace. Callers hold the data lock: DVC is not made for two at once."""

    def __init__(self, settings: Settings) -> None:
        self.repo = settings.workspace.data / "repo"
        self.site_cache = settings.workspace.data / "dvc-site-cache"
        self.remote = remote_of(settings)
        self.local_remote = self.remote.folder
        self.url = self.remote.url

    def add(self, folder: Path) -> str:
        """Track a copy of `folder`; the text of its pointer."""
        self._prepare()
        self.drop_output()
        shutil.copytree(folder, self.repo / OUTPUT, copy_function=shutil.copyfile)
        self._dvc("add", "--quiet", OUTPUT)
        return (self.repo / f"{OUTPUT}.dvc").read_text("utf-8")

    def push(self, version: str) -> None:
        """Send the version (just added) to the remote, whole.

        Raises:
            DataStoreError: objects are missing from the remote even after a second try.
        """
        self._prepare()
        missing: list[str] = []
        for _ in range(2):
            self._drop_index()
            self._dvc("push", f"{OUTPUT}.dvc")
            missing = self.missing(version)
            if not missing:
                return
            # DVC skips a folder whose list is in the remote: without the list it sends everything again.
            self._delete_from_remote([f"{version}.dir", *missing])
        raise DataStoreError(
            f"{len(missing)} objects of data version {version} are not in the remote {self.url} after two pushes",
            "is the remote writable and is its disk full? The version was not made; the last good one stands",
        )

    def pull(self, pointer: str) -> Path:
        """The folder of the version that `pointer` names, fetched from the cache or the remote."""
        self._prepare()
        self.drop_output()
        self._drop_index()
        (self.repo / f"{OUTPUT}.dvc").write_text(pointer, "utf-8")
        self._dvc("pull", "--force", f"{OUTPUT}.dvc")
        return self.repo / OUTPUT

    def share(self, version: str, folder: Path) -> None:
        """Put hard links to the cache's objects in place of `folder`'s files, which hold the same and become read-only.

        A file of another file system, or of one without links, stays as it is.
        """
        for entry in json.loads(self._cached(f"{version}.dir").read_text("utf-8")):
            file = folder / entry["relpath"]
            beside = file.with_name(f".{file.name}.{os.getpid()}")
            with contextlib.suppress(OSError):
                os.link(self._cached(entry["md5"]), beside)
                beside.replace(file)

    def is_pulled_whole(self, version: str) -> bool:
        """Whether what was just pulled is the version, file by file."""
        listing = self._cached(f"{version}.dir")
        if not _is_whole(listing, version):
            return False
        entries = json.loads(listing.read_text("utf-8"))
        return all(_is_whole(self.repo / OUTPUT / entry["relpath"], entry["md5"]) for entry in entries)

    def is_pushed(self, version: str) -> bool:
        """Whether the remote holds the version whole, as far as this machine can tell without pushing."""
        return self._cached(f"{version}.dir").is_file() and not self.missing(version)

    def objects(self, version: str, pointer: str) -> set[str]:
        """The names of all objects of a version, its list included; the list comes from the remote when it is lost."""
        if not self._cached(f"{version}.dir").is_file():
            self.pull(pointer)
            self.drop_output()
        entries = json.loads(self._cached(f"{version}.dir").read_text("utf-8"))
        return {f"{version}.dir", *(entry["md5"] for entry in entries)}

    def delete(self, oids: Iterable[str], *, from_remote: bool) -> int:
        """Delete objects from the cache, and from a remote that is a folder if so asked; the bytes that this frees."""
        freed = 0
        for oid in oids:
            paths = [self._cached(oid)]
            if from_remote and self.local_remote is not None:
                paths.append(self.local_remote / "files" / "md5" / oid[:2] / oid[2:])
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    freed += path.stat().st_size if path.stat().st_nlink == 1 else 0  # else it has another name still
                    path.unlink()
        return freed

    def missing(self, version: str) -> list[str]:
        """Objects of the version that the remote lacks (or, in a folder, holds damaged)."""
        entries = json.loads(self._cached(f"{version}.dir").read_text("utf-8"))
        oids = sorted({f"{version}.dir", *(entry["md5"] for entry in entries)})
        if self.local_remote is not None:
            return [oid for oid in oids if not _is_whole(self.local_remote / "files" / "md5" / oid[:2] / oid[2:], oid)]
        with self._remote() as odb:
            found = set(odb.oids_exist(oids))
        return [oid for oid in oids if oid not in found]

    def damaged(self, version: str, pointer: str) -> list[str]:
        """Objects of the version whose content in the remote is not what their name says: every byte is read."""
        there = sorted(self.objects(version, pointer) - set(self.missing(version)))
        if self.local_remote is not None:
            return []  # `missing` has read them
        with self._remote() as odb, ThreadPoolExecutor(NUM_READERS) as readers:

            def is_whole(oid: str) -> bool:
                with odb.fs.open(odb.oid_to_path(oid), "rb") as file:
                    digest = hashlib.md5(usedforsecurity=False)
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
                return digest.hexdigest() == oid.removesuffix(".dir")

            return [oid for oid, whole in zip(there, readers.map(is_whole, there), strict=True) if not whole]

    def repair(self, version: str, pointer: str, *, lost: list[str]) -> None:
        """Send a version's lost or damaged objects again, from the cache.

        Raises:
            DataStoreError: the cache does not have them whole either.
        """
        gone = [oid for oid in lost if not _is_whole(self._cached(oid), oid)]
        if gone:
            raise DataStoreError(
                f"{len(gone)} objects of data version {version} are whole neither in the remote {self.url} nor here",
                "repair it from a machine whose workspace has the version, or ingest its recipe again",
            )
        self._delete_from_remote([f"{version}.dir", *lost])
        self.drop_output()
        (self.repo / f"{OUTPUT}.dvc").write_text(pointer, "utf-8")
        self.push(version)

    def _delete_from_remote(self, oids: list[str]) -> None:
        if self.local_remote is not None:
            for oid in oids:
                (self.local_remote / "files" / "md5" / oid[:2] / oid[2:]).unlink(missing_ok=True)
            return
        with self._remote() as odb:
            for oid in oids:
                if odb.exists(oid):
                    odb.delete(oid)

    @contextlib.contextmanager
    def _remote(self) -> Iterator[Any]:
        """DVC's own view of a remote that is no folder."""
        from dvc.repo import Repo  # 0.6 s, and only for such remotes

        self._prepare()
        try:
            with Repo(str(self.repo)) as repo:
                odb = repo.cloud.get_remote_odb("store")
                odb.fs.fs.invalidate_cache()  # it remembers what it listed before, and others push too
                yield odb
        except failures() as err:
            said = without_secrets(" ".join(str(err).split())) or type(err).__name__
            raise DataStoreError(f"the remote {self.url} cannot be asked: {said}", self.remote.remedy) from err

    def _cached(self, oid: str) -> Path:
        return self.repo / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:]

    def _prepare(self) -> None:
        """The repository with our configuration; leftovers of a killed DVC (its rwlock) are removed."""
        folder = self.repo / ".dvc"
        if not (folder / "config").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)  # all that `dvc init --no-scm` makes, without a second of its start
        config = (
            "[core]\n    no_scm = True\n    remote = store\n    analytics = false\n    check_update = false\n"
            f"    site_cache_dir = {self.site_cache}\n[cache]\n    type = copy\n"
            f"['remote \"store\"']\n    url = {self.url}\n"
        )
        if not (folder / "config").is_file() or (folder / "config").read_text("utf-8") != config:
            (folder / "config").write_text(config, "utf-8")
        (folder / "tmp" / "rwlock").unlink(missing_ok=True)

    def drop_output(self) -> None:
        """Remove the folder that DVC tracks: the objects are in its cache."""
        shutil.rmtree(self.repo / OUTPUT, ignore_errors=True)
        (self.repo / f"{OUTPUT}.dvc").unlink(missing_ok=True)

    def _drop_index(self) -> None:
        for index in self.site_cache.glob("repo/*/index"):
            shutil.rmtree(index, ignore_errors=True)

    def _dvc(self, *arguments: str) -> None:
        """In a process of its own: DVC changes the directory of the one it runs in."""
        nowhere = str(self.repo / ".dvc" / "no-config")  # a person's own DVC settings must not change the result
        environment = os.environ | {
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.site_cache),
            "DVC_GLOBAL_CONFIG_DIR": nowhere,
            "DVC_SYSTEM_CONFIG_DIR": nowhere,
        }
        command = [sys.executable, "-m", "dvc", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.repo,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
        except subprocess.TimeoutExpired as err:
            raise DataStoreError(f"dvc {arguments[0]} did not end within {err.timeout:.0f} s", "try again") from err
        if done.returncode:
            output = f"{done.stderr}\n{done.stdout}"
            lines = [line for line in output.splitlines() if line.startswith("ERROR")] or output.strip().splitlines()[
                -1:
            ]
            reason = re.sub(r"^ERROR:\s*", "", lines[0]) if lines else "no reason given"
            told = f"; {self.remote.remedy}" if self.local_remote is None else ""
            raise DataStoreError(
                f"dvc {arguments[0]} failed: {without_secrets(reason)}",
                f"look at {self.repo} and the remote {self.url}{told}, then try again",
            )


def _is_whole(path: Path, oid: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == oid.removesuffix(".dir")
