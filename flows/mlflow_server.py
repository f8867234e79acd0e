"""MLflow's server in one process. Run it as `python -m flows.mlflow_server server …`.

`mlflow server` builds a uvicorn command, starts it as a child and waits for it: two interpreters import the whole of
MLflow, one after the other, and the first keeps 190 MB for nothing. Here the command runs where it was built. uvicorn
is imported first: by that MLflow knows that it serves, and guards its routes against foreign hosts and origins.
"""

import os
import runpy
from typing import Any

import uvicorn


def serve_here(command: list[str], *, extra_env: dict[str, str], **_: Any) -> None:
    """For `mlflow.server`, which would start `python -m uvicorn …`; ends the process when it is done."""
    os.environ.update(extra_env)
    uvicorn.main(command[command.index("uvicorn") + 1 :], prog_name="uvicorn")


if __name__ == "__main__":
    import mlflow.server

    vars(mlflow.server)["_exec_cmd"] = serve_here
    runpy.run_module("mlflow", run_name="__main__", alter_sys=True)
