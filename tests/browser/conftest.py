"""Chromium on the dashboard, which runs as a process of its own on a small installation with real stores."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import axe
from tests.dashboard.installation import Installation, free_port, shared, wait_for

ROOT = Path(__file__).parents[2]
APP = ROOT / "dashboard" / "app.py"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_MS = 60_000
"""A machine that trains beside it answers slowly, and slowness is not what these tests are about."""
expect.set_options(timeout=PATIENCE_MS)

Open = Callable[..., Page]


def find_chromium() -> str:
    """The path of a Chromium: what CHROMIUM names, else one on the path, else Playwright's own.

    Fails the test, with what to do, where there is none: a browser test that is skipped proves nothing.
    """
    named = os.environ.get("CHROMIUM", "")
    found = named or next(filter(None, map(shutil.which, NAMES)), "")
    if not found:
        with sync_playwright() as playwright:
            found = playwright.chromium.executable_path
    if not Path(found).is_file():
        pytest.fail(
            f"there is no Chromium{f' at {found}' if named else ''} for the browser tests — "
            "`sudo apt-get install chromium fonts-noto-cjk`, or `python -m playwright install chromium`, "
            "or set CHROMIUM to the path of one",
            pytrace=False,
        )
    return found


@pytest.fixture(scope="session")
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return shared(request, tmp_path_factory)


@pytest.fixture(scope="session")
def dashboard(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard's URL."""
    with serve(installation.environment(), tmp_path_factory.mktemp("dashboard")) as url:
        yield url


class serve:  # used as a function
    """Streamlit as the stack starts it, from a folder that is not the repository."""

    def __init__(
        self, environment: dict[str, str], folder: Path, *, port: int | None = None, more: tuple[str, ...] = ()
    ) -> None:
        port = port or free_port()
        argv = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
        argv += [
            "--server.address",
            "127.0.0.1",
            "--server.headless",
            "true",
            "--server.fileWatcherType",
            "none",
            *more,
        ]
        self.url = f"http://127.0.0.1:{port}"
        env = {name: value for name, value in os.environ.items() if not name.startswith("BANYAN_")}
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            argv, env=env | environment, cwd=folder, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def __enter__(self) -> str:
        wait_for(f"{self.url}/_stcore/health", seconds=180)
        return self.url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture(scope="module")  # while Playwright is open, its event loop counts as this thread's
def browser() -> Iterator[Browser]:
    path = find_chromium()
    with sync_playwright() as playwright:
        # Containers have no user namespaces for the sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe_script() -> str | None:
    """axe-core's source; None where it cannot be fetched."""
    return axe.source()


@pytest.fixture
def open_at(browser: Browser) -> Iterator[Open]:
    """Opens a page of the dashboard at a URL; what went wrong in it fails the test."""
    contexts, errors = [], []

    def opened(path: str = "", *, url: str, language: str = "en", width: int = 1280, scheme: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}/{path}?lang={language}")
        page.locator(".b-title").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def open_page(open_at: Open, dashboard: str) -> Open:
    """The same at the dashboard of the shared installation, unless another `url` is given."""
    return partial(open_at, url=dashboard)
