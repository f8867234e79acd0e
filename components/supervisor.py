"""Starts and watches a table of processes that it is given, and tells where they answer."""

import json
import os
from dataclasses import dataclass, field
from typing import Any

from components.errors import ServiceDown
from components.settings import PREFIX, Settings


@dataclass(frozen=True)
class Addresses:
    """Root URLs, without a trailing slash. Asking for one that nobody knows raises ServiceDown."""

    known: dict[str, str] = field(default_factory=dict)

    @property
    def prefect(self) -> str:
        return self._get("prefect")

    @property
    def mlflow(self) -> str:
        return self._get("mlflow")

    @property
    def gateway(self) -> str:
        return self._get("gateway")

    @property
    def dashboard(self) -> str:
        return self._get("dashboard")

    def _get(self, name: str) -> str:
        if name in self.known:
            return self.known[name]
        remedy = "start the stack with: banyan up"
        if f"{name}_url" in Settings.model_fields:
            remedy += f" (or set {PREFIX}{name.upper()}_URL)"
        raise ServiceDown(f"there is no address of {name}", remedy)


def addresses(settings: Settings) -> Addresses:
    """Where the services are: what the settings say, else what the running stack of the workspace says.

    Raises:
        ServiceDown: neither is there, or the stack that wrote its addresses is gone.
    """
    by_hand = {"prefect": settings.prefect_url, "mlflow": settings.mlflow_url, "gateway": settings.gateway_url}
    known = {name: url.rstrip("/") for name, url in by_hand.items() if url}
    stack = read_stack(settings)
    if stack and _is_alive(stack["pid"]):
        return Addresses({**stack["urls"], **known})
    if not known:
        reason = f"process {stack['pid']} that ran it is gone" if stack else f"no {settings.workspace.stack_file}"
        raise ServiceDown(f"the stack is not running ({reason})", "start it with: banyan up")
    return Addresses(known)


def read_stack(settings: Settings) -> dict[str, Any] | None:
    """What a stack wrote of itself in `workspace.stack_file`, or None when there is none."""
    try:
        stack: dict[str, Any] = json.loads(settings.workspace.stack_file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stack  # renamed into place by its writer: never torn


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
