"""Files at HTTP(S) and S3 addresses: into the workspace's cache first, and only what has changed.

<cache>/<first 16 hex digits of the address's sha256>/
    content        whole, its hash in about.json
    about.json     address (without query), what the server calls this state of it, sha256, bytes
    part           being downloaded; goes on where it was while the server calls it the same
"""

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from components.errors import InputFileError, SourceUnreachable

_CHUNK = 1 << 20
_MAX_REDIRECTS = 5


@dataclass(frozen=True)
class Download:
    """A file that lies in the cache; `name` is its last part of the address."""

    path: Path
    name: str
    address: str
    state: str
    """What the server called this state: an entity tag or a date; '' where it said nothing."""
    sha256: str
    num_bytes: int
    content_type: str = ""


def shown(url: str) -> str:
    """The address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def download(url: str, *, cache: Path, max_bytes: int, timeout_seconds: float) -> Download:
    """The file at an HTTP(S) address; asked for again, and fetched again only when it has changed.

    Raises:
        SourceUnreachable: no answer, not in time, or an error of the server's (5xx).
        InputFileError: the server refuses (4xx), or the file is larger than `max_bytes`.
    """
    import httpx

    folder = _folder(url, cache)
    had, part = _had(folder), folder / "part"
    state, begun = _begun(folder)
    headers = {"accept-encoding": "identity"}  # else a length says nothing, and a range neither
    if begun:
        headers |= {"range": f"bytes={begun}-", "if-range": state}
    elif had is not None and had.state:
        headers["if-none-match" if _is_tag(had.state) else "if-modified-since"] = had.state
    try:
        with (
            httpx.Client(timeout=timeout_seconds, follow_redirects=True, max_redirects=_MAX_REDIRECTS) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code == 304 and had is not None:
                return had
            if answer.status_code == 416:  # what was begun is longer than what there is now
                part.unlink(missing_ok=True)
                raise SourceUnreachable(f"{shown(url)} has changed while it was fetched", "ingest it again")
            if answer.status_code >= 400:
                cls = SourceUnreachable if answer.status_code >= 500 or answer.status_code == 429 else InputFileError
                raise cls(f"{shown(url)} answers {answer.status_code} {answer.reason_phrase}", "check the address")
            goes_on = answer.status_code == 206 and begun > 0
            state = answer.headers.get("etag") or answer.headers.get("last-modified") or ""
            name = PurePosixPath(answer.url.path).name
            total = int(answer.headers.get("content-length") or 0) + (begun if goes_on else 0)
            _check_size(url, total, max_bytes)
            _write_part_state(folder, state)
            with part.open("ab" if goes_on else "wb") as file:
                _copy(answer.iter_bytes(), file, url, max_bytes)  # as it comes: what is cut off has been written
            content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    except httpx.InvalidURL as err:
        raise InputFileError(f"{shown(url)} is no address: {err}", "for example: https://example.org/a.csv") from err
    except httpx.HTTPError as err:
        raise SourceUnreachable(
            f"{shown(url)} cannot be fetched: {type(err).__name__} {err}", "try again; it goes on where it was"
        ) from err
    if total and part.stat().st_size != total:
        raise SourceUnreachable(f"{shown(url)} gave {part.stat().st_size} of {total} bytes", "try again")
    return _keep(folder, url, name=name, state=state, content_type=content_type)


def download_s3(url: str, *, cache: Path, max_bytes: int, timeout_seconds: float) -> list[Download]:
    """The object at an S3 address, all objects below it, or those that a glob matches (`*` stays within a folder).

    Keys, region and `AWS_ENDPOINT_URL` come from the environment, as for every AWS client.

    Raises:
        SourceUnreachable: no answer, or access denied.
        InputFileError: there is nothing, or it is larger than `max_bytes`.
    """
    import pyarrow as pa
    from pyarrow import fs  # 0.2 s with the AWS client in it

    parts = urlsplit(url)
    bucket_path = f"{parts.netloc}{parts.path}".rstrip("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    where = {}
    if endpoint:
        scheme, _, address = endpoint.rpartition("://")
        where = {"endpoint_override": address.rstrip("/"), "scheme": scheme or "https"}
    try:
        store = fs.S3FileSystem(connect_timeout=timeout_seconds, request_timeout=timeout_seconds, **where)
        top = fixed_part(bucket_path) if glob.has_magic(bucket_path) else bucket_path
        info = store.get_file_info(top)
        if info.type == fs.FileType.NotFound:
            raise InputFileError(f"there is nothing at {shown(url)}", "check bucket, key and region")
        infos = [info] if info.is_file else store.get_file_info(fs.FileSelector(top, recursive=True))
        files = sorted((found for found in infos if found.is_file), key=lambda found: found.path)
        if top != bucket_path:
            files = [found for found in files if re.fullmatch(_pattern(bucket_path), found.path)]
            if not files:
                raise InputFileError(f"no object matches {shown(url)}", "check the pattern; quote it for the shell")
        _check_size(url, sum(found.size for found in files), max_bytes)
        return [_fetch_object(store, found, cache=cache, max_bytes=max_bytes) for found in files]
    except (OSError, pa.ArrowException) as err:
        raise SourceUnreachable(
            f"{shown(url)} cannot be read: {' '.join(str(err).split())}", "check keys, region and AWS_ENDPOINT_URL"
        ) from err


def fixed_part(pattern: str) -> str:
    """What is before the first part with a wildcard."""
    parts = pattern.split("/")
    return "/".join(parts[: next(place for place, part in enumerate(parts) if glob.has_magic(part))])


def _pattern(text: str) -> str:
    """A glob as a regular expression: `**/` is any number of folders, `*` and `?` stay within one."""
    found = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", text):
        known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        is_set = part.startswith("[") and part.endswith("]") and len(part) > 2
        found += known.get(part) or (part.replace("[!", "[^", 1) if is_set else re.escape(part))
    return found


def _fetch_object(store: Any, info: Any, *, cache: Path, max_bytes: int) -> Download:
    url = f"s3://{info.path}"
    folder = _folder(url, cache)
    state = f"{info.mtime_ns} {info.size}"
    had = _had(folder)
    if had is not None and had.state == state:
        return had
    begun_state, begun = _begun(folder)
    begun = begun if begun_state == state else 0
    _write_part_state(folder, state)
    with store.open_input_file(info.path) as source, (folder / "part").open("ab" if begun else "wb") as file:
        source.seek(begun)
        _copy(iter(lambda: source.read(_CHUNK), b""), file, url, max_bytes)
    return _keep(folder, url, name=PurePosixPath(info.path).name, state=state, content_type="")


def _folder(url: str, cache: Path) -> Path:
    folder = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _had(folder: Path) -> Download | None:
    """What lies in the cache whole."""
    try:
        about = json.loads((folder / "about.json").read_text("utf-8"))
        with (folder / "content").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return Download(**about | {"path": folder / "content"}) if found == about["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _begun(folder: Path) -> tuple[str, int]:
    """State and bytes of a download that was interrupted; only one that can be told from a changed one goes on."""
    try:
        state = (folder / "part-state").read_text("utf-8")
        size = (folder / "part").stat().st_size
    except OSError:
        return "", 0
    return (state, size) if state and not state.startswith("W/") else ("", 0)


def _write_part_state(folder: Path, state: str) -> None:
    (folder / "part-state").write_text(state, "utf-8")


def _is_tag(state: str) -> bool:
    return re.match(r'(W/)?"', state) is not None


def _check_size(url: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputFileError(
            f"{shown(url)} has {size} bytes, over the limit of {max_bytes}", "raise max_bytes if it is meant"
        )


def _copy(chunks: Iterator[bytes], file: IO[bytes], url: str, max_bytes: int) -> None:
    size = file.tell()
    for chunk in chunks:
        file.write(chunk)
        size += len(chunk)
        _check_size(url, size, max_bytes)


def _keep(folder: Path, url: str, *, name: str, state: str, content_type: str) -> Download:
    part = folder / "part"
    with part.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    made = Download(folder / "content", name, shown(url), state, sha256, part.stat().st_size, content_type)
    part.replace(made.path)
    partial = folder / f".about.{os.getpid()}"
    partial.write_text(json.dumps({**asdict(made), "path": "content"}), "utf-8")
    partial.replace(
        folder / "about.json"
    )  # after the content: a kill between the two fails the hash, and fetches again
    (folder / "part-state").unlink(missing_ok=True)
    return made
