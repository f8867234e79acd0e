"""MLflow as the stack starts it: one process, on a database and a folder of artefacts of the test's own."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import httpx
import psutil

from components.supervisor import free_port

PATIENCE_SECONDS = 150.0


class MlflowServer:
    """`with` starts it and ends it; after `kill` (`kill -9`) `start` brings it back at the same address."""

    def __init__(self, folder: Path) -> None:
        # Not one of those that Linux gives to clients, who might have it at the next start; a range for each process
        # of tests, since it is free until the server listens.
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        self.port = free_port(12_500 + 20 * worker, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder, self.database = folder, folder / "mlflow.db"
        self.process: psutil.Popen | None = None

    def __enter__(self) -> "MlflowServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Until it answers."""
        argv = [sys.executable, "-m", "flows.mlflow_server", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        argv += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.database}", "--serve-artifacts"]
        argv += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
        said = self.folder / "mlflow.log"
        with said.open("a") as log:
            self.process = psutil.Popen(argv, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True)
        give_up = time.monotonic() + PATIENCE_SECONDS
        try:
            while not self._answers():
                assert self.process.poll() is None and time.monotonic() < give_up, said.read_text()
                time.sleep(0.1)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Nothing where it has ended."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        return False
