"""Where an installation says which feedback may teach: `screening.yaml` in its workspace, else what the package brings.

Everybody who screens, watches or guards the door reads the same file, each time as it stands then.
"""

from pathlib import Path

from components.errors import RecipeError
from components.recipes import ScreeningPolicy, load_recipe
from components.settings import Workspace

NAME = "screening.yaml"


def screening_file(workspace: Workspace, *, default: Path | None) -> Path | None:
    """The file that counts; one in the workspace survives an upgrade, which brings the package's anew."""
    own = workspace.root / NAME
    return own if own.exists() else default


def screening_policy(workspace: Workspace, *, default: Path | None) -> ScreeningPolicy:
    """What stands in it now; the built-in values where there is none.

    Raises:
        RecipeError: it does not read as a screening recipe.
    """
    path = screening_file(workspace, default=default)
    if path is None:
        return ScreeningPolicy()
    found = load_recipe(path)
    if not isinstance(found, ScreeningPolicy):
        raise RecipeError(f"{path} is of kind {found.kind}, and says which feedback may teach: kind screening")
    return found
