"""Run code that nobody has read: one Python program, isolated by the kernel, or not at all.

What holds: no network, no process but its own, no file of this machine beyond the interpreter and the system's
libraries, nothing of the environment, and limits on time, memory, files and output. It stands on Linux namespaces and
a filter of system calls; where any part of that is missing, nothing runs. What it does not cover is said in
docs/guide/tasks.md.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from components.errors import SandboxUnavailable

REMEDY = (
    "it needs Linux 5.12 or later with user namespaces open to this user (in a container: its seccomp profile and "
    "AppArmor must allow them); there is no way to run the code without"
)


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    seconds: float = 5.0
    """Of the clock; processor time is capped one second above."""
    memory_bytes: int = 256 << 20
    """Address space of its one process, the interpreter's own part (about 30 MB) included."""
    disk_bytes: int = 8 << 20
    """All that it may keep in /tmp, which lies in memory, and the largest file."""
    num_files: int = 64
    num_open_files: int = 32
    num_threads: int = 16
    output_bytes: int = 1 << 16
    """What is kept of its output, and as much of its error output."""


@dataclass(frozen=True)
class Run:
    """How a program ended. A program that fails is no error of ours."""

    outcome: Literal["ended", "timed out", "killed"]
    exit_code: int | None
    """None where it was stopped from outside."""
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int | None
    """Largest resident size; None where it was stopped."""


def run(program: str, *, stdin: str = "", limits: Limits | None = None) -> Run:
    """Run a Python program (the interpreter's own library, no packages) in isolation.

    Raises:
        SandboxUnavailable: the isolation is not to be had here; nothing was run.
    """
    limits = limits or Limits()
    if sys.platform != "linux":
        raise SandboxUnavailable(f"code is not run on {sys.platform}: the isolation is Linux's", REMEDY)
    binds, links, hidden = _visible()
    job = {
        "program": program,
        "stdin": stdin,
        "exe": _interpreter(),
        "binds": binds,
        "links": links,
        "hidden": hidden,
        "limits": asdict(limits),
    }
    found = _launch(job, patience_seconds=limits.seconds + 60)
    if "refused" in found:
        raise SandboxUnavailable(f"code was not run: {found['refused']}", REMEDY)
    outcome: Literal["ended", "timed out", "killed"] = "ended"
    if found["timed_out"]:
        outcome = "timed out"
    elif found.get("signal"):
        outcome = "killed"
    return Run(
        outcome=outcome,
        exit_code=found["exit"] if outcome == "ended" else None,
        stdout=found["stdout"],
        stderr=found["stderr"],
        seconds=found["seconds"],
        peak_bytes=found.get("peak_bytes"),
    )


def _launch(job: dict[str, Any], *, patience_seconds: float) -> dict[str, Any]:
    """The launcher's report. It watches the clock itself; the patience is for a machine that stands still."""
    jail = Path(__file__).with_name("sandbox_jail.py")
    try:
        launched = subprocess.run(
            [_interpreter(), "-I", "-S", "-B", str(jail)],
            input=json.dumps(job).encode(),  # surrogates become escapes
            capture_output=True,
            env={},
            cwd="/",
            start_new_session=True,
            timeout=patience_seconds,
        )
    except subprocess.TimeoutExpired as err:
        raise SandboxUnavailable(f"the launcher said nothing for {patience_seconds:.0f} s", REMEDY) from err
    try:
        report: dict[str, Any] = json.loads(launched.stdout)
    except ValueError as err:
        said = launched.stderr.decode("utf-8", "replace").strip().splitlines()
        why = said[-1] if said else f"its launcher ended with {launched.returncode}"
        raise SandboxUnavailable(f"code was not run: {why}", REMEDY) from err
    return report


def why_not() -> str:
    """Why code cannot be run here; '' where it can. Tries it."""
    try:
        ran = run("print('isolated')", limits=Limits(seconds=30))
    except SandboxUnavailable as err:
        return str(err)
    return "" if ran.stdout == "isolated\n" else f"a trivial program failed: {ran.stderr.strip()[-200:]}"


@cache
def _interpreter() -> str:
    """The base interpreter: an environment's would bring its packages."""
    return str(Path(getattr(sys, "_base_executable", "") or sys.executable).resolve())


@cache
def _visible() -> tuple[list[str], dict[str, str], list[str]]:
    """What a program sees of this machine: folders and files, links, and folders that are shown empty."""
    library = Path(os.__file__).parent
    system = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache"]
    devices = ["/dev/null", "/dev/urandom", "/dev/zero"]
    binds: list[str] = []
    links: dict[str, str] = {}
    for path in map(Path, [*system, f"{sys.base_prefix}/lib", str(library), _interpreter(), *devices]):
        if path.is_symlink():
            links[str(path)] = str(path.readlink())
        elif path.exists() and not any(path.is_relative_to(seen) for seen in binds):
            binds.append(str(path))
    packages = (library / "site-packages", library / "dist-packages")
    return binds, links, [str(path) for path in packages if path.is_dir() and not path.is_symlink()]
