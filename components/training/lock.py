"""The lock: everything that determines a model's weights.

Two parts, because they answer two questions. `key` says "is this the same training?" and covers
the tables read, the recipe, the parent's weights and the code (design D4): caches look it up.
`exact_key` says "must the bits be equal?" and adds what changes rounding: package versions,
threads, device, instruction set. A checkpoint is resumed only under its own `exact_key`; where two locks
differ there, `verify` says "not comparable", not "failed".
"""

import ast
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import CheckpointError, InputFileError, RegistryError
from components.recipes import Training

if TYPE_CHECKING:
    import torch

COMPONENTS = Path(__file__).parents[1]
TRAINING = ("tables", "recipe", "parent", "code")
"""What makes it this training and no other: the lock's `key`."""
FOR_PEOPLE = ("revision", "dirty", "modules")
"""What explains a lock and decides nothing: neither key covers it."""
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")
"""What computes weights. Others may move without touching a bit."""
BASE_FILE = "base.json"
"""In a folder of adapters: which weights they lie on."""
SHAPING = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora")
"""Of `adapter_config.json`: what becomes of the adapters' tensors."""


@dataclass(frozen=True)
class Lock:
    tables: dict[str, str]
    """Table → sha256, of the tables that the training reads."""
    recipe: str
    """sha256 of the recipe."""
    parent: str
    """`weights_sha256` of the weights it started from; empty when it started from none."""
    code: str
    """sha256 over the sources of every module of ours that the training imports."""
    seed: int
    packages: dict[str, str]
    threads: int
    device: str
    isa: str
    """The instruction set that torch's kernels use."""
    revision: str
    """Git commit, for people; empty outside a checkout. `code` is what counts."""
    dirty: str
    """sha256 of `components`' difference to that commit; empty when there is none."""
    modules: dict[str, str] = field(default_factory=dict)
    """Module → sha256 of its source, of what `code` covers: which of them two locks differ in."""
    parallel: str = ""
    """How several workers trained it together, as `distributed.World.name`; empty for one. Where their number changed
    on the way, one after another."""

    division: dict[str, int] = field(default_factory=dict)
    """Where a batch did not fit the device's memory: `step N` → into how many parts micro-batches are divided from that
    step on (of an ensemble `member-M, step N`). It changes how sums are rounded; known when the training has ended."""

    @property
    def key(self) -> str:
        return _sha256({name: getattr(self, name) for name in TRAINING})

    @property
    def exact_key(self) -> str:
        return _sha256(self._exact())

    @property
    def elastic_key(self) -> str:
        """`exact_key` less workers and threads: under it a checkpoint is resumed by another number of workers."""
        apart = ("threads", "parallel", "division")
        return _sha256({name: value for name, value in self._exact().items() if name not in apart})

    @property
    def undivided(self) -> "Lock":
        """As it was before the training began."""
        return replace(self, division={})

    @property
    def last_parallel(self) -> str:
        """How it was trained at its end."""
        return self.parallel.rpartition(" → ")[2].partition(" from step ")[0].replace("1 worker", "")

    def _exact(self) -> dict[str, object]:
        """One process whose batches fitted leaves no trace in it, so that locks from before there could be others keep
        their keys."""
        exact = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in FOR_PEOPLE}
        return {name: value for name, value in exact.items() if value or name not in ("parallel", "division")}

    def as_dict(self) -> dict[str, object]:
        """For the registry: every field, and both keys."""
        return asdict(self) | {"key": self.key, "exact_key": self.exact_key}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, origin: str) -> "Lock":
        """The lock that `as_dict` gave.

        Raises:
            RegistryError: it lacks a field, or its content is not what its key was taken of.
        """
        known = {f.name for f in fields(cls)}
        try:
            lock = cls(**{name: value for name, value in content.items() if name in known})
        except TypeError as err:
            raise RegistryError(f"the lock of {origin} is not whole: {err}", "train the model again") from err
        if content.get("exact_key") != lock.exact_key:
            raise RegistryError(f"the lock of {origin} was changed: its key is another", "train the model again")
        return lock


@dataclass(frozen=True)
class Difference:
    part: str
    """A field of the lock, with the table or package it is about: `packages.torch`."""
    first: str
    second: str
    is_exact: bool
    """Whether bits may differ for it; else it is told for people only."""

    def __str__(self) -> str:
        return f"{self.part}: {_short(self.first)} → {_short(self.second)}"


def differences(first: Lock, second: Lock) -> list[Difference]:
    """In what two locks differ, in the order of the lock's fields; none where bits and code are the same."""
    found = []
    for name in (f.name for f in fields(Lock)):
        one, other = getattr(first, name), getattr(second, name)
        if not isinstance(one, dict):
            one, other = {"": one}, {"": other}
        elif name == "modules" and not (one and other):  # of an older lock they are not known
            continue
        for part in sorted(one.keys() | other.keys()):
            values = str(one.get(part, "none")), str(other.get(part, "none"))
            if values[0] != values[1]:
                found.append(Difference(f"{name}.{part}".rstrip("."), *values, is_exact=name not in FOR_PEOPLE))
    return found


def take(recipe: Training, *, tables: Mapping[str, str], module: str, parent: str = "", parallel: str = "") -> Lock:
    """The lock of a training that has not begun.

    Args:
        module: the training's entry points, comma-separated; what they import is the code.
        parent: `weights_sha256` of the base.
        parallel: `distributed.World.name` of the workers.
    """
    import torch

    from components.training.device import resolve

    revision, dirty = _revision()
    return Lock(
        tables=dict(sorted(tables.items())),
        recipe=recipe.sha256(),
        parent=parent,
        code=code_sha256(module),
        seed=recipe.seed,
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        threads=torch.get_num_threads(),
        device=_device_name(resolve(recipe.device)),
        isa=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        revision=revision,
        dirty=dirty,
        parallel=parallel,
        modules={name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _files(module)},
    )


def weights_sha256(source: "Path | Mapping[str, torch.Tensor]") -> str:
    """Hash over names, types, shapes and bytes of tensors, sorted by name: independent of file layout. Of adapters also
    over what they lie on, and how they are scaled.

    Raises:
        InputFileError: a folder without safetensors.
        CheckpointError: a file that is torn or is not safetensors.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    digest = hashlib.sha256()

    def add(name: str, tensor: "torch.Tensor") -> None:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    if not isinstance(source, Path):
        for name in sorted(source):
            add(name, source[name])
        return digest.hexdigest()

    paths = sorted(source.glob("*.safetensors"))
    if not paths:
        raise InputFileError(f"no *.safetensors in {source}", "only safetensors are read: nothing is ever unpickled")
    owner: dict[str, Path] = {}
    try:
        for path in paths:
            with safe_open(path, framework="pt") as file:
                owner |= dict.fromkeys(file.keys(), path)
        for name in sorted(owner):
            with safe_open(owner[name], framework="pt") as file:
                add(name, file.get_tensor(name))
        if (source / BASE_FILE).is_file():
            digest.update(_sha256(_around_adapters(source)).encode())
    except (SafetensorError, OSError, ValueError) as err:
        raise CheckpointError(f"the weights in {source} cannot be read: {err}", "fetch or train them again") from err
    return digest.hexdigest()


def _around_adapters(folder: Path) -> object:
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    return [json.loads((folder / BASE_FILE).read_text("utf-8")), {name: config.get(name) for name in SHAPING}]


@cache
def code_sha256(module: str) -> str:
    """Hash over the sources of `module` (several: comma-separated) and of all of `components` that they import."""
    digest = hashlib.sha256()
    for name, path in _files(module):
        digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def uncommitted() -> str:
    """The difference of `components` to the last commit, as `git apply` takes it; files that Git does not know lack."""
    return _git("diff", "HEAD", "--", ".", strip=False)


def _files(module: str) -> list[tuple[str, Path]]:
    return sorted(_closure(module.split(",")).items())


def _closure(modules: Iterable[str]) -> dict[str, Path]:
    """Module → file, for everything of ours that is reached by an import statement, wherever it stands."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or not (path := _source(name)):
            continue
        found[name] = path
        for node in ast.walk(ast.parse(found[name].read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names if alias.name.startswith("components")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("components"):
                waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _source(name: str) -> Path | None:
    """A module's file, found without importing anything: `find_spec` imports every parent, and ours import torch."""
    place = COMPONENTS.joinpath(*name.split(".")[1:])
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return path
    return None  # `components.errors.DataError` is no module


def _device_name(device: "torch.device") -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _revision() -> tuple[str, str]:
    """Commit and hash of the difference to it; both empty where our sources are not what Git tracks here.

    An installed copy may lie in an environment inside somebody else's repository: its commit says nothing of us.
    """
    if not _git("ls-files", "training/lock.py"):
        return "", ""
    changes = _git("diff", "HEAD", "--", ".")
    return _git("rev-parse", "HEAD"), hashlib.sha256(changes.encode()).hexdigest() if changes else ""


def _git(*args: str, strip: bool = True) -> str:
    try:
        done = subprocess.run(["git", *args], cwd=COMPONENTS, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if done.returncode:
        return ""
    return done.stdout.strip() if strip else done.stdout


def _short(value: str) -> str:
    """Of a hash as much as tells it from another."""
    is_hash = len(value) in (40, 64) and set(value) <= set("0123456789abcdef")
    return f"{value[:12]}…" if is_hash else value or "none"


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
