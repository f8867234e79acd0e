"""Whether processes that live also work: the looks in a row that each has missed are counted.

Looks are counted, not seconds: a laptop that slept, or a supervisor that was stopped, is no service that hangs.
"""

import contextlib
import http.client
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

CHECK_SECONDS = 10.0
"""From look to look, and how long an answer may take: a machine that is busy takes seconds, and is no hang."""


@dataclass(frozen=True)
class Watched:
    """A process that is taken for ready, and how it is asked."""

    pid: int
    health_url: str | None = None
    is_well: Callable[[], bool] | None = None


class Pulse:
    """Looks in a thread of its own: an answer that does not come must not hold up who starts what has died."""

    def __init__(self, watched: Callable[[], Sequence[Watched]], *, check_seconds: float | None = None) -> None:
        """`watched`: who is to be looked at now."""
        self._watched = watched
        self._seconds = check_seconds
        self._missed: dict[int, int] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._look_on, name="pulse", daemon=True).start()

    def stop(self) -> None:
        """No further look; the one that is at work ends by itself."""
        self._stopping.set()

    def missed(self, pid: int) -> int:
        """How many looks in a row the process has missed."""
        return self._missed.get(pid, 0)

    def _look_on(self) -> None:
        seconds = CHECK_SECONDS if self._seconds is None else self._seconds
        wait = seconds
        while not self._stopping.wait(wait):
            begun = time.monotonic()
            self._missed = look(self._watched(), self._missed, timeout_seconds=seconds)
            wait = max(0.0, seconds - (time.monotonic() - begun))


def look(watched: Sequence[Watched], missed: Mapping[int, int], *, timeout_seconds: float) -> dict[int, int]:
    """Process → how many looks in a row it has missed, this one included.

    One that is stopped (SIGSTOP) has missed it. One that does not answer has, unless nobody who is asked over HTTP
    does: then the machine or its network is away, and counts stay as they are.
    """
    stopped = {one.pid for one in watched if _is_stopped(one.pid)}
    asked = [one for one in watched if one.pid not in stopped and (one.health_url or one.is_well)]
    said: dict[int, bool] = {}

    def ask(one: Watched) -> None:
        said[one.pid] = answers(one.health_url, timeout_seconds=timeout_seconds) and (not one.is_well or one.is_well())

    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in asked]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout_seconds + 1.0
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    over_http = [one for one in asked if one.health_url]
    has_witness = len(over_http) <= 1 or any(said.get(one.pid, False) for one in over_http)
    counts = {}
    for one in watched:
        is_missed = one.pid in stopped or (one in asked and not said.get(one.pid, False))
        counts[one.pid] = missed.get(one.pid, 0) + (one.pid in stopped or has_witness) if is_missed else 0
    return counts


def _is_stopped(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return False


def answers(url: str | None, *, timeout_seconds: float = 2.0) -> bool:
    """Whether GET gives 200 in time; nothing to ask is as good."""
    if url is None:
        return True
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot know our loopback
    try:
        with direct.open(url, timeout=timeout_seconds) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):  # refused, timed out, cut, or an HTTP status of 400 and more
        return False
