"""Where an installation says when it retrains: `retrain-when.yaml` in its workspace, else what the package brings."""

from pathlib import Path

from components.errors import RecipeError
from components.recipes import TriggerPolicy, load_recipe
from components.settings import Workspace

NAME = "retrain-when.yaml"


def trigger_file(workspace: Workspace, *, default: Path) -> Path:
    """The file that counts; one in the workspace survives an upgrade, which brings the package's anew."""
    own = workspace.root / NAME
    return own if own.exists() else default


def trigger_policy(workspace: Workspace, *, default: Path) -> TriggerPolicy:
    """What stands in it now.

    Raises:
        RecipeError: it does not read as a trigger's recipe.
    """
    path = trigger_file(workspace, default=default)
    found = load_recipe(path)
    if not isinstance(found, TriggerPolicy):
        raise RecipeError(f"{path} is of kind {found.kind}, and says when to retrain: kind trigger")
    return found
