"""Faults, and the fenced-off place in which they can be real without harming anybody else.

The place is a network, a file system and a set of processes of its own (Linux namespaces, by util-linux' `unshare`; no
root is needed where the kernel allows user namespaces): the network is cut by taking its loopback device down, the disk
is a tmpfs that really is full, and whatever is left of it ends with it. The clock that jumps is `jumping_clock.c`,
loaded into the stack's processes and not into the one that looks at them.
"""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from components.supervisor import leftovers
from tests.fault.small_loop import Installation

FENCED = "_FENCED_OFF"
FENCE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
SOURCE = Path(__file__).with_name("jumping_clock.c")
SERVICES = ("prefect", "mlflow", "gateway", "relay", "dashboard", "worker")
JUMPS = (3600.0, 90.0, -30.0, -600.0)
"""Seconds: a laptop that slept, a machine without a clock that was set right, small and large steps back."""


# ---------------------------------------------------------------- the place


def fence_off(module: str) -> None:
    """Runs this program anew, as a module, within the fence; returns where it is there already.

    Raises:
        SystemExit: this machine allows no such fence.
    """
    if os.environ.get(FENCED):
        _loopback(up=True)
        return
    for command in (FENCE, (*FENCE[:1], "--user", "--map-root-user", *FENCE[1:])):
        if shutil.which("unshare") and _works([*command, "true"]):
            os.environ[FENCED] = "1"
            os.execvp(command[0], [*command, sys.executable, "-m", module, *sys.argv[1:]])
    raise SystemExit("the campaign needs Linux namespaces: util-linux's unshare, as root or with user namespaces")


def _works(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def disk(folder: Path, *, megabytes: int) -> None:
    """Mounts a disk of that size on the folder; within the fence, so that it goes with it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)


def _loopback(*, up: bool) -> None:
    """Takes the fence's network device up or down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 1 if up else 0)  # SIOCSIFFLAGS with IFF_UP
        fcntl.ioctl(any_socket, 0x8914, request)


class Clock:
    """The wall clock of the stack's processes; what they count seconds with stays true."""

    def __init__(self, folder: Path) -> None:
        self.file, self.library, self._offset = folder / "clock", folder / "clock.so", 0
        self._write()
        compiler = shutil.which("cc")
        self.is_there = compiler is not None
        if compiler:
            built = ["-O2", "-shared", "-fPIC", "-o", str(self.library), str(SOURCE), "-ldl"]
            subprocess.run([compiler, *built], check=True)

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to have it; nothing where there is no C compiler."""
        return {"LD_PRELOAD": str(self.library), "JUMPING_CLOCK": str(self.file)} if self.is_there else {}

    def jump(self, seconds: float) -> None:
        self._offset += round(seconds * 1e6)
        self._write()

    def _write(self) -> None:
        mode = "r+b" if self.file.exists() else "wb"
        with self.file.open(mode) as file:  # in place: processes have it mapped
            file.write(struct.pack("q", self._offset))


# ---------------------------------------------------------------- the faults


@dataclass(frozen=True)
class Fault:
    """What happens, when, and for how long."""

    kind: str
    """kill | freeze | cut | disk | clock | power."""
    target: str
    at: float
    """Seconds after the round's beginning."""
    seconds: float = 0.0
    """How long it lasts; of a clock: how far it jumps."""

    @property
    def name(self) -> str:
        """The kind, whatever its moment."""
        lasting = {"clock": f" {self.seconds:+.0f} s", "cut": f" {self.seconds:.0f} s"}.get(self.kind, "")
        hung = " until it is restarted" if self.kind == "freeze" and self.seconds == HUNG_SECONDS else ""
        return f"{self.kind} {self.target}{lasting}{hung}"

    @property
    def loses_runs(self) -> bool:
        """Whether a flow run may lose its process by it."""
        return self.kind == "power" or (self.kind == "kill" and self.target in ("run", "supervisor", "worker"))

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.0f} s" if self.seconds else ""
        if self.kind == "clock":
            lasting = f" by {self.seconds:+.0f} s"
        return f"{self.at:5.1f} {self.kind} {self.target}{lasting}"


HUNG_SECONDS = 100.0
"""Longer than the supervisor bears with a service that is stopped."""
MOST_LOSSES = 3
"""Of a round: a run that lost its process four times is given up, rightly."""


def every(draws: random.Random, *, has_clock: bool) -> list[Fault]:
    """Each kind of fault that there is, at no time yet: runs, which have most to lose, more than once."""
    found = [Fault("kill", target, 0.0) for target in (*SERVICES, "supervisor", "worker's child", "run", "run")]
    found += [Fault("freeze", one, 0.0, draws.choice((4.0, 12.0, 30.0))) for one in (*SERVICES, "run")]
    found.append(Fault("freeze", draws.choice(SERVICES), 0.0, HUNG_SECONDS))
    found += [Fault("cut", "the network", 0.0, seconds) for seconds in (5.0, 20.0, 60.0)]
    found += [Fault("disk", "the disk", 0.0, seconds) for seconds in (3.0, 10.0)]
    found += [Fault("clock", "the stack", 0.0, seconds) for seconds in (JUMPS if has_clock else ())]
    return [*found, Fault("power", "everything", 0.0)]


class Bag:
    """Faults without replacement: who draws for long enough meets each kind, in the order that the draws give."""

    def __init__(self, draws: random.Random, *, has_clock: bool) -> None:
        self._draws, self._has_clock = draws, has_clock
        self.left: list[Fault] = []
        """What the bag still holds, in its order."""

    def take(self, num_faults: int, *, within: float) -> list[Fault]:
        """The faults of a round, in order, within its first `within` seconds; a full bag follows on an empty one."""
        found: list[Fault] = []
        while len(found) < num_faults:
            num_losses = sum(one.loses_runs for one in found)
            possible = [one for one in self.left if not (one.loses_runs and num_losses == MOST_LOSSES)]
            if possible:
                self.left.remove(possible[0])
                found.append(replace(possible[0], at=round(self._draws.random() * within, 1)))
            else:
                fresh = every(self._draws, has_clock=self._has_clock)
                self._draws.shuffle(fresh)
                self.left += fresh
        return sorted(found, key=lambda fault: fault.at)

    def give_back(self, faults: Sequence[Fault]) -> None:
        """Those that met nothing: they come first in the next round."""
        self.left = [*faults, *self.left]


class Inflictor(threading.Thread):
    """Inflicts a round's faults, beginning when it is started, until all are over or it is told that the round is.

    A process that is not there yet is waited for; a fault that met nothing does not count.
    """

    def __init__(self, installation: Installation, faults: Sequence[Fault], *, clock: Clock) -> None:
        super().__init__(name="inflictor", daemon=True)
        self._installation, self._clock = installation, clock
        self._draws = random.Random(repr(faults))
        self._waiting = list(faults)
        self._person: threading.Thread | None = None
        self.done: list[Fault] = []
        self.said: list[str] = []
        self.is_over = threading.Event()
        self.error: BaseException | None = None

    @property
    def has_more(self) -> bool:
        """Whether faults are still to come."""
        return self.is_alive() and bool(self._waiting)

    def run(self) -> None:
        begun = time.monotonic()
        ends: list[tuple[float, Callable[[], None]]] = []

        def later(seconds: float, end: Callable[[], None]) -> None:
            ends.append((time.monotonic() - begun + seconds, end))

        try:
            while ends or (self._waiting and not self.is_over.is_set()):
                now = time.monotonic() - begun
                for due in [end for end in ends if end[0] <= now]:
                    ends.remove(due)
                    due[1]()
                for fault in [one for one in self._waiting if one.at <= now]:
                    if hit := self._inflict(fault, later):
                        self._waiting.remove(fault)
                        self.done.append(fault)
                        self.said.append(f"{fault}: at {now:.1f}, {hit}")
                time.sleep(0.05)
        except BaseException as err:  # told by whoever joins
            self.error = err
        finally:
            for _, end in ends:
                end()
        self._see_to_the_stack()
        assert self._person is not None
        self._person.join()

    def _inflict(self, fault: Fault, later: Callable[[float, Callable[[], None]], None]) -> str:
        """What it hit; empty where there was nothing to hit."""
        workspace = self._installation.settings.workspace
        if fault.kind == "power":
            found = [*self._supervisor(), *leftovers(workspace)]
            self._kill(found)
            self._kill(leftovers(workspace))  # born in between
            later(1.0, self._see_to_the_stack)
            return f"{len(found)} processes"
        if fault.kind in ("kill", "freeze"):
            found = self._supervisor() if fault.target == "supervisor" else self._processes(fault.target)
            if not found:
                return ""
            if fault.kind == "freeze":
                if fault.target != "run":
                    found = self._with_all_that_they_started(found)
                self._send(found, signal.SIGSTOP)
                later(fault.seconds, lambda: self._send(found, signal.SIGCONT))
            else:
                self._kill(found)
            if fault.target == "supervisor":
                later(2.0, self._see_to_the_stack)
            return f"process {found[0].pid}"
        if fault.kind == "cut":
            _loopback(up=False)
            later(fault.seconds, lambda: _loopback(up=True))
        elif fault.kind == "disk":
            ballast = workspace.root / "ballast"
            _fill(ballast)
            later(fault.seconds, lambda: ballast.unlink(missing_ok=True))
        elif fault.kind == "clock":
            self._clock.jump(fault.seconds)
        return fault.target

    def _processes(self, target: str) -> list[psutil.Process]:
        """One of a service's, or of a flow run's."""
        if target == "run":
            found = self._installation.flow_runs()
            return [self._draws.choice(found)] if found else []
        process = self._installation.service("worker" if target == "worker's child" else target)
        if process is None:
            return []
        if target == "worker's child":
            with contextlib.suppress(psutil.Error):
                return process.children()[:1]
            return []
        return [process]

    @staticmethod
    def _with_all_that_they_started(found: Sequence[psutil.Process]) -> list[psutil.Process]:
        """MLflow's command, for one, does nothing but wait for its server."""
        every = list(found)
        for process in found:
            with contextlib.suppress(psutil.Error):
                every += process.children(recursive=True)
        return every

    def _supervisor(self) -> list[psutil.Process]:
        process = self._installation.process
        with contextlib.suppress(psutil.Error):
            return [psutil.Process(process.pid)] if process and process.poll() is None else []
        return []

    def _kill(self, found: Sequence[psutil.Process]) -> None:
        self._send(found, signal.SIGKILL)
        psutil.wait_procs(found, timeout=10)

    @staticmethod
    def _send(found: Sequence[psutil.Process], what: signal.Signals) -> None:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.send_signal(what)

    def _see_to_the_stack(self) -> None:
        """What a person does whose stack is gone; meanwhile other faults begin and end."""
        if self._person is None or not self._person.is_alive():
            self._person = threading.Thread(target=self._start_again, name="person", daemon=True)
            self._person.start()

    def _start_again(self) -> None:
        try:
            process = self._installation.process
            while process is None or process.poll() is not None:
                self._installation.start()
                process = self._installation.process
        except BaseException as err:  # told by whoever joins
            self.error = err


def _fill(ballast: Path) -> None:
    """Until not a byte more goes onto the disk."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
