"""A registered model by its name, from the running registry or, without one, from what it left on this disk."""

import re
from pathlib import Path

from components.errors import RegistryError, ServiceDown, VersionNotFound
from components.refs import ModelRef
from components.registry import PREFIX, Registry, model_name
from components.settings import Settings, Workspace
from components.supervisor import addresses

ARTIFACTS = "mlflow-artifacts:/"


class StoredRegistry(Registry):
    """The registry's store, read in this process: its SQLite file and its artifacts' folder. To be read only."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
        self._artifacts = workspace.mlflow / "artifacts"

    def _download(self, ref: ModelRef, scratch: Path) -> Path:
        import shutil

        from components.tracking import translated

        with translated(f"{ref} could not be found"):
            stored = str(self._client.get_model_version_download_uri(ref.name, str(ref.version)))
        folder = self._artifacts / stored.removeprefix(ARTIFACTS).lstrip("/") / "artifacts" / "model"
        if not stored.startswith(ARTIFACTS) or not folder.is_dir():
            raise RegistryError(f"the files of {ref} are not in {folder}", "start the stack: banyan up")
        return Path(shutil.copytree(folder, scratch / "model"))


def registry_of(settings: Settings) -> Registry:
    """The running registry, or the store of one that is stopped.

    Raises:
        ServiceDown: there is neither.
    """
    try:
        return Registry(addresses(settings).mlflow)
    except ServiceDown:
        if not (settings.workspace.mlflow / "mlflow.db").is_file():
            raise
        return StoredRegistry(settings.workspace)


def find_model(which: str, *, registry: Registry) -> ModelRef:
    """`banyan-library`, `library`, `library@3` or `library@champion`: without a version the champion, or the newest.

    Raises:
        VersionNotFound: there is no such model or version.
    """
    name, _, version = which.partition("@")
    name = model_name(name.removeprefix(PREFIX))
    found = registry.versions(name)
    if not found:
        known = ", ".join(registry.names()) or "none"
        raise VersionNotFound(f"there is no registered model {name}", f"the registered models are: {known}")
    if not version or version == "champion":
        chosen = next((one for one in found if "champion" in one.aliases), None)
        if chosen is None and not version:
            chosen = next((one for one in found if one.role != "control"), found[0])
    else:
        number = re.fullmatch(r"v?(\d+)", version)
        chosen = next((one for one in found if number and one.ref.version == int(number[1])), None)
    if chosen is None:
        there = ", ".join(str(one.ref.version) for one in found)
        raise VersionNotFound(f"{name} has no version {version}", f"its versions are: {there}")
    return chosen.ref
