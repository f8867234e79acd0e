"""What the command line shows while it waits. On a terminal one live line a stage; else a line when a stage ends."""

import sys
import time
from types import TracebackType
from typing import Any

from flows.remote import Run

SAY_SECONDS = 30.0
"""Between two lines on how far a long step is, where there is no terminal."""


class RunDisplay:
    """Shows a run that is polled: stage, share done, rate (as the step says it) and time left.

    Use as a context manager and call `see(run)` as often as there is news. Writes to stderr, so that
    a command's result alone is on stdout.
    """

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._title = title
        self._quiet = quiet
        self._live: Any = None
        self._bar: Any = None
        self._said: set[str] = set()
        self._said_at = time.monotonic()

    def __enter__(self) -> "RunDisplay":
        if self._quiet or not sys.stderr.isatty():
            return self
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._live.start()
        self._bar = self._live.add_task(self._title, total=None, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def see(self, run: Run) -> None:
        """Show what is new in `run`."""
        for step in run.steps:
            if step.state in {"COMPLETED", "CACHED"} and step.name not in self._said:
                self._said.add(step.name)
                self.line(f"{step.name:<28} {step.seconds:6.1f} s")
        now = run.progress
        if not self._live and now and time.monotonic() - self._said_at > SAY_SECONDS:
            self._said_at = time.monotonic()
            self.line(f"… {now.text}")
        if self._live:
            self._live.update(
                self._bar,
                description=run.stage,
                completed=now.percent if now else 0,
                total=100 if now else None,
                text=now.text if now else "",
            )

    def line(self, text: str) -> None:
        """A line that stays."""
        if self._quiet:
            return
        if self._live:
            self._live.console.print(f"  {text}", highlight=False, markup=False)
        else:
            print(f"  {text}", file=sys.stderr, flush=True)
