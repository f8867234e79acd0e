"""Keys that are costly to take, taken once: what a training's lock is, and which rows a rater replays."""

import hashlib
import importlib.metadata
import json
import os
import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components import assets
from components.data import versioning
from components.recipes import Finetune, Pretrain, Rater
from components.refs import DataRef
from components.settings import Settings
from components.training.lock import PACKAGES

DECIDES_THREADS = ("OMP_", "MKL_", "OPENBLAS_", "TORCH_", "PYTORCH_", "ATEN_", "CUDA_", "NVIDIA_", "GOMP_", "KMP_")
"""Beginnings of the environment variables that torch reads when it counts threads and chooses kernels."""


def lock_keys(recipe: Pretrain | Finetune, *, data: DataRef, settings: Settings) -> tuple[str, str]:
    """Key and exact key of the training's lock.

    Taking a lock imports torch (1.4 s of CPU) to ask it for threads, device and instruction set, and reads the base
    weights whole. So it is written down under everything that these depend on, and read where nothing of it differs.

    Raises: as `components.training.run.take_lock`.
    """
    from components.training.run import take_lock

    depends = _depends(recipe, data=data, settings=settings)
    path = settings.workspace.runs / "locks" / f"{depends}.json"
    if depends:
        try:
            kept: list[str] = json.loads(path.read_text("utf-8"))
            return kept[0], kept[1]
        except (OSError, ValueError, IndexError):
            pass
    lock = take_lock(recipe, data=data, settings=settings)
    if depends:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(json.dumps([lock.key, lock.exact_key]), "utf-8")
        beside.replace(path)
    return lock.key, lock.exact_key


def _depends(recipe: Pretrain | Finetune, *, data: DataRef, settings: Settings) -> str:
    """sha256 over all that a lock's keys are made of, or stand for it; empty where the base is no pinned asset."""
    base: list[object] = []
    if isinstance(recipe, Finetune):
        if recipe.base not in assets.load_assets():
            return ""
        base = [str(file) for file in _stats(assets.weights(recipe.base, settings=settings))]
    of = data.tables if isinstance(recipe, Pretrain) and recipe.packed else data.tables.get(recipe.table)
    parts: list[object] = [recipe.kind, recipe.sha256(), of, base, code(), _machine()]
    parts += [settings.workers, settings.parallel]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _stats(folder: Path) -> list[tuple[str, int, int]]:
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.safetensors"))]


def code() -> str:
    """sha256 over every source file of `components`: more than any one training imports, and taken in 20 ms."""
    digest = hashlib.sha256()
    spec = find_spec("components")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(f"{path}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def _machine() -> list[Any]:
    """What torch would be asked for, as far as it can change from one process to the next."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text("utf-8").splitlines() if cpu.is_file() else []
    return [
        {name: importlib.metadata.version(name) for name in PACKAGES},
        {name: value for name, value in sorted(os.environ.items()) if name.startswith(DECIDES_THREADS)},
        affinity,
        platform.machine(),
        sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}),
        sorted(str(path) for path in Path("/dev").glob("nvidia*")),
    ]


def replayed_rows(recipe: Rater, *, settings: Settings) -> str | None:
    """sha256 of the rows that a rater replays; None while there is no such table."""
    ref = versioning.head(settings)
    if ref is None or recipe.table not in ref.tables:
        return None
    path = versioning.path_of(ref, settings) / recipe.table / f"{recipe.split}.parquet"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
