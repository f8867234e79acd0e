"""The process of one flow run: Prefect's engine, writing to a file of its own instead of a pipe to the worker.

With the pipe, a run whose worker was killed dies at its next line of log (rich ends a process whose pipe broke).
So it goes on and finishes, and the file remains where a crash of the interpreter itself would be told.
"""

import logging
import os
import runpy
import sys

from components.settings import load_settings


def main() -> None:
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
