"""Third-party text and weights: pinned in `assets.toml`, fetched through the package index, verified, unpacked."""

import contextlib
import shutil
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from components.errors import AssetError, AssetHashMismatch
from components.package_index import AssetFile, download, keep, sha256_of, verify
from components.settings import Settings


class Asset(AssetFile):
    """A pinned asset. Its own fields name the first place to get it from."""

    name: str
    kind: Literal["package", "books", "weights"]
    licence: str
    subject: str = ""
    names: tuple[str, ...] = ()
    """What the library calls itself in its texts: masked where the label must not show."""
    model: str = ""
    """Weights: the model as its authors name it."""
    weights_sha256: str = ""
    """Weights shipped as safetensors: hash of that file, the same in every source."""
    alternatives: tuple[AssetFile, ...] = ()

    @property
    def sources(self) -> tuple[AssetFile, ...]:
        """Where it can be had, in the order of preference."""
        return (self, *self.alternatives)


@cache
def load_assets() -> dict[str, Asset]:
    """Every pinned asset, by name."""
    content = tomllib.loads(Path(__file__).with_name("assets.toml").read_text("utf-8"))
    return {name: Asset(name=name, **fields) for name, fields in content.items()}


def get_asset(name: str) -> Asset:
    """The asset of this name.

    Raises:
        AssetError: there is none.
    """
    assets = load_assets()
    if name not in assets:
        raise AssetError(f"there is no asset {name!r}", f"assets are {', '.join(assets)}")
    return assets[name]


def download_size_bytes(names: Iterable[str]) -> int:
    """How much `fetch` would download for these assets on an empty workspace."""
    return sum(get_asset(name).size_bytes for name in names)


def is_present(name: str, *, settings: Settings) -> bool:
    """Whether the asset can be used without asking the index (its hash is checked on use)."""
    folders = [settings.workspace.assets / "files", settings.asset_files]
    files = (folder / source.filename for folder in folders if folder for source in get_asset(name).sources)
    return _weights_folder(get_asset(name), settings).is_dir() or any(file.is_file() for file in files)


# ---------------------------------------------------------------- files


def fetch(name: str, *, settings: Settings) -> Path:
    """The verified file of an asset: already here, from `settings.asset_files`, or from the index.

    Raises:
        AssetHashMismatch: a file that is not the pinned one.
        IndexUnreachable: no index answered.
        AssetError: the index does not have it, or pip cannot be run.
    """
    return _fetch(get_asset(name), settings)[0]


def _fetch(asset: Asset, settings: Settings) -> tuple[Path, AssetFile]:
    files = settings.workspace.assets / "files"
    for source in asset.sources:
        target = files / source.filename
        if target.is_file() and sha256_of(target) == source.sha256:
            return target, source
    files.mkdir(parents=True, exist_ok=True)
    with _locked(files / f".{asset.name}.lock"):
        if settings.asset_files is not None:
            if not settings.asset_files.is_dir():
                raise AssetError(
                    f"BANYAN_ASSET_FILES is {settings.asset_files}, which is not a folder",
                    "name the folder that holds the asset files, or unset it",
                )
            for source in asset.sources:
                local = settings.asset_files / source.filename
                if local.is_file():
                    verify(local, source)
                    return keep(local, files / source.filename), source
        failures: list[AssetError] = []
        for source in asset.sources:
            try:
                return download(asset.name, source, files, is_text=asset.kind != "weights"), source
            except AssetHashMismatch:
                raise
            except AssetError as err:
                failures.append(err)
        raise failures[0]


# ---------------------------------------------------------------- folders


def unpack(name: str, *, settings: Settings) -> Path:
    """The asset's folder (its `path` inside the unpacked file); unpacked once.

    Raises: as `fetch`.
    """
    asset = get_asset(name)
    folder = settings.workspace.assets / "unpacked" / f"{name}-{asset.version}-{asset.sha256[:12]}"
    if not folder.is_dir():
        file, source = _fetch(asset, settings)
        with _made_once(folder) as target:
            if target is not None:
                _extract(file, target, source.path)
    return folder / asset.path


def weights(name: str, *, settings: Settings) -> Path:
    """A Hugging Face folder of pretrained weights: safetensors, tokenizer, LICENSE or NOTICE; made once.

    Raises: as `fetch`; AssetError when the asset is no weights, or its content is not what was pinned.
    """
    asset = get_asset(name)
    if asset.kind != "weights":
        raise AssetError(f"asset {name} is {asset.kind}, not weights", "weights are minilm and smollm2")
    folder = _weights_folder(asset, settings)
    if folder.is_dir():
        return folder
    file, source = _fetch(asset, settings)
    with _made_once(folder) as target, tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as scratch:
        if target is not None:
            _extract(file, Path(scratch), source.path)
            content = Path(scratch, source.path)
            if content.suffix == ".gguf":
                from components.gguf_conversion import to_hugging_face  # torch: only where a conversion is due

                to_hugging_face(content, target)
            else:
                _copy_model_files(content, target, asset)
            notice = (
                f"{asset.model}\nLicence: {asset.licence}\nFrom {source.package} {source.version}, {source.filename}\n"
            )
            for upstream in sorted(content.parent.rglob("NOTICE") if content.is_file() else content.rglob("NOTICE")):
                notice += "\n" + upstream.read_text("utf-8")
            Path(target, "NOTICE").write_text(notice, "utf-8")
            for licence in sorted(Path(scratch).rglob("LICENSE"), key=lambda path: "dist-info" in path.parts[-2]):
                if not Path(target, "LICENSE").exists():
                    shutil.copyfile(licence, Path(target, "LICENSE"))
    return folder


_MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def _copy_model_files(content: Path, target: Path, asset: Asset) -> None:
    for filename in _MODEL_FILES:
        shutil.copyfile(content / filename, target / filename)
    found = sha256_of(target / "model.safetensors")
    if found != asset.weights_sha256:
        raise AssetHashMismatch(f"{asset.name}: model.safetensors has sha256 {found}, pinned is {asset.weights_sha256}")


def _weights_folder(asset: Asset, settings: Settings) -> Path:
    return settings.workspace.assets / "weights" / f"{asset.name}-{asset.version}-{asset.sha256[:12]}"


def _extract(file: Path, target: Path, path: str) -> None:
    """Only what lies under `path`, and licence files."""

    def wanted(member: str) -> bool:
        upper = member.rsplit("/", 1)[-1].upper()
        return (
            member == path
            or member.startswith(f"{path}/")
            or upper.startswith(("LICENSE", "LICENCE", "NOTICE", "COPYING"))
        )

    try:
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as wheel:
                for name in filter(wanted, wheel.namelist()):
                    wheel.extract(name, target)
        else:
            with tarfile.open(file) as sdist:
                for member in sdist.getmembers():
                    member.name = member.name.partition("/")[2]  # an sdist's one top folder
                    if member.name and wanted(member.name):
                        sdist.extract(member, target, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, OSError) as err:
        raise AssetError(f"{file} could not be unpacked into {target}: {err}", "is the disk full?") from err


@contextlib.contextmanager
def _made_once(folder: Path) -> Iterator[Path | None]:
    """A folder beside `folder` to fill, renamed to it at the end; None when another process was first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            yield None
            return
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            yield partial
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Any]:
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield
