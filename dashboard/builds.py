"""What a data version's folder and the folders of failed builds say."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from components.settings import Settings
from dashboard.records import FailedBuild
from dashboard.replies import path_of, read_json

if TYPE_CHECKING:
    from components.data.versioning import Manifest


def licences(manifest: "Manifest", settings: Settings) -> dict[str, str]:
    """From the version's own tables; a version that is not checked out here has no licences to show."""
    folder = settings.workspace.data / "versions" / manifest.ref.version
    found: dict[str, str] = {}
    for table in manifest.ref.tables:
        found |= (read_json(folder / table / "table.json") or {}).get("licences", {})
    return found


def failed(settings: Settings) -> Iterator[FailedBuild]:
    """The builds that were kept out, with the checks that they failed."""
    for folder in (settings.workspace.data / "failed").glob("*"):
        report = read_json(folder / "validation.json")
        if report is None:
            continue
        checks = tuple(
            f"{check['batch']}: {check['meaning']} ({check['unexpected_count']}/{check['element_count']})"
            for check in report["checks"]
            if not check["success"]
        )
        yield FailedBuild(folder.name, folder.stat().st_mtime, checks, path_of(report.get("docs")))
