"""Findings about trainings that are kept in the workspace, for whoever draws them: one JSON file each."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.settings import Settings

LABEL_EFFICIENCY = "label-efficiency"
"""Quality by number of labels: rows of task, base, rows, and [mean, least, most] of `test` and `other`."""


def path_of(name: str, *, settings: "Settings") -> Path:
    """Where the finding of that name lies."""
    return settings.workspace.root / "findings" / f"{name}.json"


def keep(name: str, finding: dict[str, Any], *, settings: "Settings") -> Path:
    """Keep a finding, in place of the one there was."""
    path = path_of(name, settings=settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps({"at": time.time(), **finding}, ensure_ascii=False), "utf-8")
    beside.replace(path)
    return path


def read(name: str, *, settings: "Settings") -> dict[str, Any] | None:
    """The finding of that name; None where there is none, or it cannot be read."""
    try:
        found = json.loads(path_of(name, settings=settings).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
