"""The process of one flow run, as Prefect's worker starts it.

It asks the worker's runner (flows/runner.py) to fork one that has everything imported, and then only stands for it: a
signal is handed on, its end is this one's end, and if this one is killed, so is the other. Without a runner, or where
that refuses, it imports and runs Prefect's engine itself.

Either writes to a file of its own instead of a pipe to the worker. With the pipe, a run whose worker was killed dies at
its next line of log (rich ends a process whose pipe broke). So it goes on and finishes, and the file remains where a
crash of the interpreter itself would be told.
"""

import json
import os
import signal
import socket
import sys

RUNNER = "_BANYAN_RUNNER"
"""Environment variable of a worker's processes: the socket of its runner."""
FORKED = "forked"
REFUSED = "refused"
ENDED = "ended"


def main() -> None:
    code = ask()
    if code is None:
        run()
    elif code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    else:
        sys.exit(code)


def ask() -> int | None:
    """The exit code of the run that a runner forked; None where none did."""
    path = os.environ.get(RUNNER)
    if not path:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            asked = {"env": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109  # pathlib takes 15 ms to import
            connection.sendall(json.dumps(asked).encode() + b"\n")
            said = connection.makefile("r", encoding="utf-8")
            word, _, pid = said.readline().strip().partition(" ")
        except OSError:  # no runner listens
            return None
        if word != FORKED:
            return None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda which, _: os.kill(int(pid), which))
        code = -signal.SIGKILL  # what a run that says nothing at its end has met
        for line in said:  # until the other has really ended
            word, _, number_said = line.strip().partition(" ")
            if word == ENDED:
                code = int(number_said)
        return code


def run() -> None:
    """Prefect's engine, here."""
    import logging
    import runpy

    from components.settings import load_settings

    folder = load_settings().workspace.logs / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / f"{os.environ['PREFECT__FLOW_RUN_ID']}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    # Prefect gives loggers that are not its own (PREFECT_LOGGING_EXTRA_LOGGERS) its handlers, but no level.
    logging.getLogger("components").setLevel(logging.INFO)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
