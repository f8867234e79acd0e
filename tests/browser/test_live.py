"""What changes in the stores appears on a page that stands open, and takes nothing from whoever is at work on it."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.registry import Registry
from components.settings import Settings
from tests.browser.conftest import PATIENCE_MS, serve
from tests.browser.test_dashboard import LOADED, STILL, loaded
from tests.dashboard.installation import Installation

pytestmark = pytest.mark.browser
PAGES = ("models", "data", "feedback", "cost", "evolution")


@pytest.fixture
def own(installation: Installation, tmp_path: Path) -> Iterator[tuple[Settings, str]]:
    """A copy of the installation's stores, to be changed at will, and the URL of a dashboard on it."""
    ours, database = installation.settings, tmp_path / "mlflow.db"
    copy = ours.model_copy(update={"workspace_dir": tmp_path / "workspace", "mlflow_url": f"sqlite:///{database}"})
    # Closing one file of an open database takes all of its process's locks away (POSIX), and the next who opens it
    # cuts the shared memory off that this process still reads: a bus error.
    others = shutil.ignore_patterns(f"{ours.workspace.ledger.name}*")
    shutil.copytree(ours.workspace.root, copy.workspace.root, symlinks=True, ignore=others)
    there = Path((ours.mlflow_url or "").removeprefix("sqlite:///"))
    for origin, target in ((there, database), (ours.workspace.ledger, copy.workspace.ledger)):
        with sqlite3.connect(origin) as one, sqlite3.connect(target) as other:
            one.backup(other)  # the originals are open elsewhere
    own = {"BANYAN_WORKSPACE": str(copy.workspace.root), "BANYAN_MLFLOW_URL": str(copy.mlflow_url)}
    with serve(installation.environment() | own, tmp_path) as url:
        yield copy, url


def comment(settings: Settings, number: int, said: str) -> None:
    with Ledger(settings, mask=list) as ledger:
        ledger.record_feedback(
            f"live-{number}", request_id=f"request-{60 + number:04d}", kind="comment", comment=said,
            channel="api", subject=None,
        )  # fmt: skip


def change_everything(settings: Settings, installation: Installation) -> None:
    """As a loop would: an opinion, a cost, another champion, one more version, a build that is kept out."""
    comment(settings, 0, "came in meanwhile")
    registry = Registry(settings.mlflow_url or "")
    with Ledger(settings, mask=list) as ledger:
        ledger.record_cost(
            "live", "train", subject_name="banyan-library", device="cpu", seconds=36_000.0, energy_joules=1.0,
            energy_source="estimate: 2 cores at 12 W", peak_memory_bytes=1,
        )  # fmt: skip
        Journal(ledger, settings.workspace).move(registry, installation.models["before"], actor="gate", evidence={})
    after = registry.versions("banyan-library")[0]
    registry._client.create_model_version(  # type: ignore[attr-defined]
        "banyan-library", source=f"runs:/{after.ref.run_id}/model", run_id=after.ref.run_id, tags=dict(after.tags)
    )
    folder = settings.workspace.data / "failed" / "live"
    folder.mkdir(parents=True)
    check = {"batch": "library", "meaning": "no text is longer than a page", "success": False}
    report = {"checks": [check | {"unexpected_count": 3, "element_count": 9}], "docs": None}
    (folder / "validation.json").write_text(json.dumps(report), "utf-8")


def test_what_changes_appears_without_a_reload_and_disturbs_nobody(
    own: tuple[Settings, str], installation: Installation, browser: Browser
) -> None:
    settings, url = own
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    try:
        pages: dict[str, Page] = {}
        for name in PAGES:
            pages[name] = page = context.new_page()
            page.goto(f"{url}/{name}")
            loaded(page, name)
            page.wait_for_selector(STILL)
        models, data, cost = pages["models"], pages["data"], pages["cost"]
        models.get_by_role("tab", name="Slices").click()
        hashes = models.get_by_test_id("stExpander").first.locator(".b-kv")
        for _ in range(10):  # a click between two drawings of the page is lost
            models.get_by_text("Every hash").click()
            with contextlib.suppress(AssertionError):
                expect(hashes).to_be_visible(timeout=5_000)
                break
        data.get_by_label("Search", exact=True).fill("half a que")  # not sent: no Enter
        data.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 300)")
        spent = cost.locator(".b-tiles").first.inner_text()

        change_everything(settings, installation)

        expect(models.locator(".b-timeline li", has_text="v1 took over from v3")).to_be_visible()
        expect(pages["evolution"].locator(".b-card", has_text="library v1–v4").first).to_be_visible()
        expect(data.locator(".b-box.s-failed")).to_contain_text("no text is longer than a page")
        expect(pages["feedback"].locator(".b-row", has_text="came in meanwhile")).to_be_visible()
        expect(cost.locator(".b-tiles").first).not_to_have_text(spent)

        expect(models.get_by_role("tab", name="Slices")).to_have_attribute("aria-selected", "true")
        expect(hashes).to_be_visible()
        expect(data.get_by_label("Search", exact=True)).to_have_value("half a que")
        expect(data.get_by_label("Search", exact=True)).to_be_focused()
        assert data.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 300

        models.get_by_role("button", name="Roll back").click()
        dialog = models.get_by_role("dialog")
        dialog.get_by_label("Why").fill("half a reas")
        for number in (1, 2):  # by the second at the latest the page below the dialog has been looked after, too
            comment(settings, number, f"said while somebody writes, {number}")
            expect(pages["feedback"].locator(".b-row", has_text=f"somebody writes, {number}")).to_be_visible()
        expect(dialog.get_by_label("Why")).to_have_value("half a reas")
    finally:
        context.close()
    assert set(PAGES) < set(LOADED)
