"""From a path, a glob or an address to files, each with its kind."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.data.readers import columnar
from components.data.readers.downloads import Download, download, download_s3, fixed_part
from components.data.readers.kinds import SUFFIXES, kind_of, named_kind
from components.errors import InputFileError
from components.recipes import FileSource

_CONTENT_TYPES = {
    "text/plain": "text",
    "text/markdown": "markdown",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/json": "json",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/vnd.apache.arrow.stream": "arrow",
}


@dataclass(frozen=True)
class Located:
    """A file to be read; `name` is what people know it by, relative to the folder that was given."""

    path: Path
    name: str
    kind: str
    compression: str
    of_dataset: bool = False
    """An Arrow file of a folder that `datasets` saved."""

    @property
    def stem(self) -> str:
        """The name without folder and suffixes."""
        name = Path(self.name)
        return Path(name.stem).stem if self.compression else name.stem


@dataclass
class Found:
    """The files of a source; `is_one` where a single file was asked for: its faults are errors, not rejected rows."""

    files: list[Located]
    is_one: bool
    left_out: Counter[str] = field(default_factory=Counter)
    """Suffix → files of a folder that are of no kind that is read."""


def locate(source: FileSource, *, cache: Path | None, own: Mapping[str, str]) -> Found:
    """The files that a source names, sorted by name; those at an address are in `cache` then.

    `own` are a task's own formats, by suffix.

    Raises:
        InputFileError: there is none, or its kind is not known.
        SourceUnreachable: an address does not answer.
    """
    if source.url is not None:
        return _at_address(source, cache, own)
    assert source.path is not None  # a source has one of the three
    path = source.path
    if path.is_dir():
        if columnar.is_saved_dataset(path):
            files = columnar.saved_dataset_files(path)
            return Found([Located(file, str(file.relative_to(path)), "arrow", "", True) for file in files], False)
        return _of_folder(source, path, sorted(_walk(path)), own)
    if not path.exists() and glob.has_magic(str(path)):
        files = _matches(path)
        if not files:
            raise InputFileError(f"no file matches {path}", "check the pattern; quote it, so that the shell leaves it")
        return _of_folder(source, _fixed_part(path), files, own)
    if not path.exists():
        raise InputFileError(f"there is no file {path}", "check the path")
    kind, compression = named_kind(str(path), said=source.format, own=own)
    return Found([Located(path, path.name, kind, compression)], True)


def fingerprint(source: FileSource) -> str | None:
    """Hash over names and bytes of a local source's files; None where only reading tells (an address, a query)."""
    if source.path is None:
        return None
    path = source.path
    files = sorted(_walk(path)) if path.is_dir() else [path] if path.exists() else _matches(path)
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _at_address(source: FileSource, cache: Path | None, own: Mapping[str, str]) -> Found:
    assert source.url is not None
    if cache is None:
        raise InputFileError(f"{source.address} needs a cache to be fetched into", "give a folder for it")
    how = {"cache": cache, "max_bytes": source.max_bytes, "timeout_seconds": source.timeout_seconds}
    if source.url.startswith("s3://"):
        fetched = download_s3(source.url, **how)  # type: ignore[arg-type]
        if len(fetched) != 1 or fetched[0].address != source.url.rstrip("/"):
            prefix = (fixed_part(source.url) if glob.has_magic(source.url) else source.url.rstrip("/")) + "/"
            return _sorted_out([(file.path, file.address.removeprefix(prefix)) for file in fetched], source, own)
        return Found([_of_download(source, fetched[0], own)], True)
    return Found([_of_download(source, download(source.url, **how), own)], True)  # type: ignore[arg-type]


def _of_download(source: FileSource, file: Download, own: Mapping[str, str]) -> Located:
    said = source.format or (None if kind_of(file.name, own=own)[0] else _CONTENT_TYPES.get(file.content_type))
    kind, compression = named_kind(file.name or file.address, said=said, own=own)
    return Located(file.path, file.name or "index", kind, compression)


def _of_folder(source: FileSource, folder: Path, files: list[Path], own: Mapping[str, str]) -> Found:
    named = [(file, str(file.relative_to(folder) if file.is_relative_to(folder) else file)) for file in files]
    return _sorted_out(named, source, own)


def _sorted_out(named: list[tuple[Path, str]], source: FileSource, own: Mapping[str, str]) -> Found:
    found = Found([], False)
    for path, name in named:
        kind, compression = kind_of(name, own=own)
        if source.format or kind:
            found.files.append(Located(path, name, source.format or kind, compression))
        else:
            found.left_out[Path(name).suffix.lower() or "no suffix"] += 1
    if not found.files:
        others = ", ".join(f"{number} {suffix}" for suffix, number in found.left_out.most_common(5)) or "it is empty"
        raise InputFileError(
            f"{source.address} holds no file that is read: {others}", f"kinds are {', '.join(SUFFIXES)}"
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Files below, without hidden ones and those that begin with an underscore (`_SUCCESS`); links are not followed."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._"]
        yield from (Path(root) / name for name in files if name[0] not in "._")


def _matches(pattern: Path) -> list[Path]:
    found = glob.glob(str(pattern), recursive=True)  # noqa: PTH207  # Path.glob wants a folder and a relative pattern
    return sorted(path for path in map(Path, found) if path.is_file())


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part with a wildcard."""
    parts = pattern.parts
    first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first]) if first else Path()
