"""What this machine has and lacks: `banyan doctor`. Looks only; changes nothing and downloads nothing."""

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.errors import BanyanError
from components.settings import Settings

DISTRIBUTION = "banyan-llm"
NEEDED_DISK_GB = 3.0
"""Workspace of one demo 1.5 GB, twice over."""
NEEDED_MEMORY_GB = 4.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    level: str
    """ok | note (works without it) | missing (does not)."""
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Check]:
    """Every check, in the order in which one would mend them."""
    return [
        _python(),
        *_packages(),
        _torch(),
        _workspace(settings),
        _memory(),
        *_assets(settings),
        *_installation(settings),
        *_ports(settings),
        _program("git", "the lock of a model records the code revision", "apt install git"),
        _chromium(),
        _chinese_font(),
    ]


def _python() -> Check:
    found = sys.version.split()[0]
    if sys.version_info[:2] == (3, 11):
        return Check("python", "ok", found)
    return Check("python", "missing", found, "make setup with Python 3.11 (apt install python3.11-venv)")


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or []]
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", "missing", f"{DISTRIBUTION} is not installed", "make setup")
        return
    wrong = []
    for requirement in wanted:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not there")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        yield Check("packages", "missing", "; ".join(wrong), "make setup")
    else:
        yield Check("packages", "ok", f"{len(wanted)} requirements met")


def _torch() -> Check:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Check("torch", "missing", "not installed", "make setup")
    gpu = shutil.which("nvidia-smi") is not None
    if gpu and version.endswith("+cpu"):
        return Check(
            "torch", "note", f"{version}, though this machine has a GPU", "install a CUDA build of torch 2.13.0"
        )
    return Check("torch", "ok", f"{version}, {os.cpu_count()} cores" + (", GPU" if gpu else ", no GPU: none is needed"))


def _workspace(settings: Settings) -> Check:
    root = settings.workspace.root
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    if not os.access(there, os.W_OK):
        return Check("workspace", "missing", f"{there} is not writable", "set BANYAN_WORKSPACE to a folder that is")
    if free < NEEDED_DISK_GB:
        return Check(
            "workspace",
            "missing",
            f"{root}: {free:.1f} GB free of the {NEEDED_DISK_GB:.0f} needed",
            "free some, or set BANYAN_WORKSPACE",
        )
    return Check("workspace", "ok", f"{root}, {free:.0f} GB free")


def _memory() -> Check:
    import psutil

    total = psutil.virtual_memory().total / 1e9
    level = "ok" if total >= NEEDED_MEMORY_GB else "note"
    return Check("memory", level, f"{total:.0f} GB", "" if level == "ok" else "close other programs during the demo")


def _assets(settings: Settings) -> Iterator[Check]:
    try:
        from components.assets import download_size_bytes, is_present, load_assets

        assets = load_assets()
        absent = [name for name in assets if not is_present(name, settings=settings)]
    except (BanyanError, ImportError) as err:
        yield Check("assets", "missing", str(err), "make setup")
        return
    if not absent:
        yield Check("assets", "ok", f"{len(assets)} files in {settings.workspace.assets}")
        return
    yield Check(
        "assets",
        "note",
        f"{len(absent)} of {len(assets)} not fetched yet ({download_size_bytes(absent) / 1e6:.0f} MB)",
        "banyan demo fetches them; without a network set BANYAN_ASSET_FILES to a folder that holds them",
    )


def _installation(settings: Settings) -> Iterator[Check]:
    """What is half broken in it, each as a check of its own."""
    from flows.health import examine

    for found in examine(settings):
        yield Check(found.part, found.level, found.what, found.remedy)


def _ports(settings: Settings) -> Iterator[Check]:
    from flows.health import port_holder
    from flows.stack import describe

    stack = describe(settings)
    if stack.is_running:
        yield Check("stack", "ok", "running: " + ", ".join(f"{k} {v}" for k, v in stack.urls.items()))
        return
    yield Check("stack", "ok", "not running")
    taken = []
    for field in ("prefect_port", "mlflow_port", "gateway_port", "dashboard_port"):
        port = getattr(settings, field)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError:
                taken.append(f"{port} ({field.removesuffix('_port')}) by {port_holder(port) or 'another process'}")
    if taken:
        yield Check("ports", "note", f"taken: {', '.join(taken)}", "the next free one is used and printed")
    else:
        yield Check("ports", "ok", "free")


def _program(name: str, why: str, remedy: str) -> Check:
    found = shutil.which(name)
    return Check(name, "ok", found) if found else Check(name, "missing", f"not found; {why}", remedy)


def _chromium() -> Check:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Check("chromium", "ok", found)
    return Check("chromium", "note", "not found: only the browser tests need it", "apt install chromium")


def _chinese_font() -> Check:
    """Screenshots of the Chinese dashboard show boxes without one."""
    if not shutil.which("fc-list"):
        folders = [Path("/usr/share/fonts"), Path("/System/Library/Fonts")]
        there = any(f.is_dir() and any(f.rglob("*CJK*")) for f in folders)
    else:
        there = bool(
            subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True, check=False).stdout.strip()
        )
    if there:
        return Check("chinese font", "ok", "there")
    return Check(
        "chinese font", "note", "none: only screenshots of the Chinese pages need it", "apt install fonts-noto-cjk"
    )
