"""The end of a data version: marked first, then its files go; what is marked is ended by whoever comes next."""

import shutil
from pathlib import Path

from components.data.dvc_store import DvcStore
from components.data.manifests import Manifest, versions
from components.errors import DataStoreError
from components.settings import Settings


def mark(version: str, settings: Settings) -> None:
    """The version is none any more; its manifest stays, hidden, until its files are gone."""
    file = settings.workspace.data / "manifests" / f"{version}.json"
    file.rename(file.with_name(f".{version}.json"))


def end_removals(settings: Settings) -> int:
    """Remove the files of every marked version that no other one needs; the bytes that this frees.

    Of a remote that is not the workspace's own folder nothing is deleted: other installations may live on it.
    Callers hold the data lock.

    Raises:
        DataStoreError: the list of another version's objects cannot be had, so that nobody knows what it needs.
    """
    markers = sorted((settings.workspace.data / "manifests").glob(".*.json"))
    if not markers:
        return 0
    store = DvcStore(settings)
    needed: set[str] = set()
    for other in versions(settings):
        needed |= store.objects(other.ref.version, other.pointer)
    return sum(_end(marker, store, needed, settings) for marker in markers)


def _end(marker: Path, store: DvcStore, needed: set[str], settings: Settings) -> int:
    about = Manifest.model_validate_json(marker.read_text("utf-8"))
    version = about.ref.version
    try:
        unneeded = store.objects(version, about.pointer) - needed
    except DataStoreError:  # its list is gone from cache and remote: nobody can tell any more which were its own
        unneeded = set()
    folder = settings.workspace.data / "versions" / version
    rejects = marker.with_name(f"{version}.rejects.parquet")
    files = [path for path in [rejects, *folder.rglob("*")] if path.is_file()]
    freed = sum(path.stat().st_size for path in files if path.stat().st_nlink == 1)  # else it has another name still
    shutil.rmtree(folder, ignore_errors=True)
    rejects.unlink(missing_ok=True)
    for index in (settings.workspace.root / "indexes").glob(f"{version}-*.sqlite"):  # it holds the texts
        index.unlink(missing_ok=True)
    # the list last: killed before, whoever ends this still knows the rest
    ordered = sorted(unneeded, key=lambda oid: (oid.endswith(".dir"), oid))
    freed += store.delete(ordered, from_remote=store.local_remote == settings.workspace.remote)
    marker.unlink()
    return freed
