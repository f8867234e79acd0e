"""Starts the stack in a process of its own, which outlives the command that asked for it."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from components.errors import StackError, WorkspaceBusy
from components.settings import Settings

OnEvent = Callable[[str], None]


def start_in_background(settings: Settings, *, on_event: OnEvent) -> Mapping[str, str]:
    """Service → root URL, once all are ready.

    Raises:
        WorkspaceBusy: a stack runs on this workspace already.
        StackError: it did not start; the message is its own last line.
    """
    from flows import stack

    now = stack.describe(settings)
    if now.is_running:
        where = ", ".join(f"{name} {url}" for name, url in now.urls.items())
        raise WorkspaceBusy(
            f"process {now.pid} already runs a stack on {settings.workspace.root} ({where})",
            "use that one, or stop it with: banyan down",
        )
    settings.workspace.logs.mkdir(parents=True, exist_ok=True)
    log = settings.workspace.logs / "stack.log"
    with log.open("w", encoding="utf-8") as out, log.open(encoding="utf-8") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", "--foreground", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # The last thing it prints is its addresses, as JSON; before that one line an event.
        while True:
            code = child.poll()
            lines = [line.strip() for line in said if line.strip()]
            for line in lines:
                if line.startswith("{"):
                    return stack.describe(settings).urls
                if code is None:
                    on_event(line)
            if code is not None:
                reason = lines[-1].removeprefix("banyan: ") if lines else f"it ended with code {code}"
                raise StackError(reason, f"the whole log is {log}")
            time.sleep(0.1)
