"""axe-core, fetched from npm once and kept outside Git: the rules by which a page is usable without eyes or mouse."""

import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

VERSION = "4.14.1"
FOLDER = Path(__file__).parents[2] / ".bench" / "axe"
BAD = {"serious", "critical"}


def source() -> str | None:
    """The script's text; None where npm, or its registry, is not to be had."""
    kept = FOLDER / f"axe-core-{VERSION}.min.js"
    if kept.is_file():
        return kept.read_text("utf-8")
    npm = shutil.which("npm")
    if npm is None:
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", str(FOLDER)]
    try:
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, timeout=90)
        with tarfile.open(FOLDER / f"axe-core-{VERSION}.tgz") as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            kept.write_bytes(member.read())
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError):
        return None
    return kept.read_text("utf-8")


def findings(page: Page, script: str, *, only: Sequence[str] = ()) -> list[str]:
    """What axe calls serious or critical, one line an element; `only`: by these rules."""
    page.evaluate(script)
    wanted: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        wanted["runOnly"] = {"type": "rule", "values": list(only)}
    found: dict[str, Any] = page.evaluate("wanted => axe.run(document, wanted)", wanted)
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html'][:120]}"
        for rule in found["violations"]
        if rule["impact"] in BAD
        for node in rule["nodes"]
    ]
