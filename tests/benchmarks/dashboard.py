"""How soon each page of the dashboard shows its content and answers a click, over stores with a year in them.

1,000 runs in MLflow and in Prefect, 200 model versions, 100,000 answers and 20,000 feedback rows, put into the real
schemas; MLflow, Prefect, the gateway and the dashboard run as processes, and Chromium looks. Time to content runs from
the navigation to the page's content on the screen, by a browser that has been at the house before and has the scripts
of Streamlit in its cache; `cold` is one that has not. An empty Streamlit page is opened in the same way, since no page
can be sooner. A reaction runs from a click to what it changes: the language on every page, and what one does on the
page itself (follow a station or a family to its page, up to that page's title; choose a version, a run, a comparison's
slices, a fate, an example; the page of costs offers nothing but looking). MLflow's own pages are opened on the same
store.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as PatienceError

from components.refs import ModelRef
from components.settings import Settings
from dashboard.app import PAGES
from tests.benchmarks import dashboard_stores as stores
from tests.browser.conftest import find_chromium, serve
from tests.dashboard.installation import commit_data, fill_prefect, free_port, gateway, prefect, wait_for
from tests.mlflow_server import MlflowServer

RUNS, VERSIONS = int(os.environ.get("RUNS", "1000")), int(os.environ.get("VERSIONS", "200"))
ANSWERS, FEEDBACK = int(os.environ.get("ANSWERS", "100000")), int(os.environ.get("FEEDBACK", "20000"))
REPEATS = int(os.environ.get("REPEATS", "5"))
SEED = 7
PATIENCE_MS = 60_000
CONTENT = {
    "ecosystem": ".node.n-feedback >> visible=true",
    "evolution": ".treepic >> visible=true",
    "models": ".b-lineage",
    "data": ".b-tiles",
    "runs": ".b-rows",
    "playground": "textarea",
    "feedback": ".b-rows",
    "cost": ".b-table",
}


def say(text: str) -> None:
    print(text, flush=True)


def fresh(browser: Browser) -> BrowserContext:
    """With an empty cache of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    return context


def opened(browser: Browser, url: str, selector: str) -> tuple[float, float]:
    """Seconds to what is looked for: in a browser that was never there, and in the same one afterwards; medians."""
    cold, warm = [], []
    for _ in range(REPEATS):
        context = fresh(browser)
        for times in (cold, warm):
            page = context.new_page()
            times.append(seconds_to(page, lambda page=page: page.goto(url), selector))  # type: ignore[misc]
            page.close()
        context.close()
    return round(statistics.median(cold), 3), round(statistics.median(warm), 3)


def seconds_to(page: Page, act: Callable[[], object], *selectors: str) -> float:
    started = time.perf_counter()
    act()
    for selector in selectors:
        page.locator(selector).first.wait_for()
    return time.perf_counter() - started


def settled(page: Page) -> None:
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")


def measure(browser: BrowserContext, url: str, name: str) -> tuple[float, float]:
    """Time to content, and the slower of two reactions: the language, and what one does on the page itself."""
    page = browser.new_page()
    path = "" if name == "ecosystem" else name
    content = seconds_to(page, lambda: page.goto(f"{url}/{path}"), CONTENT[name])
    settled(page)
    sidebar = page.get_by_test_id("stSidebar")
    switch = seconds_to(page, sidebar.get_by_text("中文").click, ".b-title:text-matches('[一-龥]')")
    settled(page)
    sidebar.get_by_text("English").click()
    page.locator(".b-title:text-matches('^[A-Z]')").first.wait_for()
    settled(page)
    reaction = max(switch, react(page, name))
    page.close()
    return content, reaction


def react(page: Page, name: str) -> float:
    """What one does on the page itself; 0 where there is nothing to do but look."""
    if name == "ecosystem":
        return seconds_to(page, page.locator(".node.n-data:visible").click, ".b-title:text-is('Data')")
    if name == "evolution":
        return seconds_to(page, page.locator("a[data-page=models]:visible").first.click, ".b-title:text-is('Models')")
    if name == "models":
        tab = page.get_by_role("tab").nth(1)
        return seconds_to(page, tab.click, ".b-forest >> visible=true")
    if name == "data":
        shown = page.locator(".b-kv code").first.inner_text()  # the version's hash, last on the page
        first = page.get_by_test_id("stMain").get_by_role("combobox").first
        return chosen(page, first, f".b-kv code >> nth=0 >> text=/^(?!{shown})/")
    if name == "runs":
        link = page.locator(".b-link").first.get_attribute("href")
        last = page.get_by_test_id("stMain").get_by_role("combobox").last
        return chosen(page, last, f".b-link:not([href='{link}'])")
    if name == "feedback":
        pill = page.get_by_test_id("stMain").get_by_text("Refused", exact=True).last
        return seconds_to(page, pill.click, ".b-row:not(:has(.s-ready)) .b-pill.s-failed")
    if name == "playground":
        return seconds_to(page, page.get_by_role("button", name="Try an example").click, "textarea:not(:empty)")
    return 0.0


def chosen(page: Page, choices: Locator, selector: str) -> float:
    """Seconds from the choice of a list's second entry to what it changes.

    Not of its last: a long list draws only what is seen of it, and whoever follows its end down for a second presses
    late, which is no slowness of the page.
    """
    for _ in range(10):  # a list may close that Playwright has to scroll to
        choices.click()
        second = page.get_by_role("option").nth(1)
        try:
            second.hover(timeout=2_000)
            return seconds_to(page, partial(second.click, timeout=2_000), selector)
        except PatienceError:
            page.keyboard.press("Escape")
    raise PatienceError(f"no choice brought {selector}")


def mlflow_pages(browser: Browser, url: str) -> dict[str, dict[str, float] | None]:
    """Seconds to content; None where it did not come."""
    looks = {
        "runs": ("/#/experiments/1/runs", "text=/library-\\d+/"),
        "model": (f"/#/models/{stores.MODEL}", "text=/Version \\d+/"),
    }
    found: dict[str, dict[str, float] | None] = {}
    for name, (path, selector) in looks.items():
        try:
            cold, warm = opened(browser, url + path, selector)
            found[name] = {"cold_seconds": cold, "content_seconds": warm}
        except PatienceError:
            say(f"MLflow's page of {name} did not show {selector} in {PATIENCE_MS / 1000:.0f} s: not measured")
            found[name] = None
    return found


@contextmanager
def empty_page(folder: Path) -> Iterator[str]:
    """A Streamlit page that says one word."""
    script = folder / "empty.py"
    script.write_text('import streamlit as st\nst.html("<p class=b-word>word</p>")\n', "utf-8")
    port = free_port()
    argv = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    argv += ["--server.address", "127.0.0.1", "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", seconds=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def main() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    try:
        chromium = find_chromium()
    except BaseException as err:  # pytest's own failure, outside a test
        say(str(err))
        sys.exit(2)
    with tempfile.TemporaryDirectory(prefix="banyan-dashboard-") as scratch:
        root = Path(scratch)
        bare = Settings(BANYAN_WORKSPACE=root / "workspace")  # type: ignore[call-arg]
        say(f"filling: {RUNS} runs, {VERSIONS} versions, {ANSWERS} answers, {FEEDBACK} feedback rows")
        started = time.perf_counter()
        stores.fill_registry(root / "mlflow.db", num_runs=RUNS, num_versions=VERSIONS, seed=SEED)
        stores.fill_ledger(bare, num_answers=ANSWERS, num_feedback=FEEDBACK, num_versions=VERSIONS, seed=SEED)
        commit_data(bare, root)
        stores.another_data_version(bare, root)
        say(f"filled in {time.perf_counter() - started:.0f} s")
        with prefect(root / "prefect") as prefect_url, MlflowServer(root) as mlflow:
            wait_for(f"{prefect_url}/api/health", seconds=120)
            fill_prefect(f"{prefect_url}/api")
            stores.multiply_runs(root / "prefect" / "prefect.db", num_runs=RUNS)
            urls = {"prefect_url": prefect_url, "mlflow_url": mlflow.url}
            settings = bare.model_copy(update=urls)
            ref = ModelRef(name=stores.MODEL, version=VERSIONS, run_id="r", weights_sha256=f"{VERSIONS:064x}")
            with gateway(settings, {stores.TABLE: (ref, "classification")}) as gateway_url:
                environment = {
                    "BANYAN_WORKSPACE": str(bare.workspace.root), "BANYAN_MLFLOW_URL": mlflow.url,
                    "BANYAN_PREFECT_URL": prefect_url, "BANYAN_GATEWAY_URL": gateway_url,
                }  # fmt: skip
                with serve(environment, root) as url, empty_page(root) as empty_url, sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                    empty = opened(browser, empty_url, ".b-word")
                    say(f"an empty page: cold {empty[0]:.2f} s, then {empty[1]:.2f} s")
                    pages = look(browser, url)
                    peer = mlflow_pages(browser, mlflow.url)
                    browser.close()
    result = {
        "worst_content_seconds": max(one["content_seconds"] for one in pages.values()),
        "worst_reaction_seconds": max(one["reaction_seconds"] for one in pages.values()),
        "worst_cold_seconds": max(one["cold_seconds"] for one in pages.values()),
        "empty_streamlit_page": {"cold_seconds": empty[0], "content_seconds": empty[1]},
        "pages": pages,
        "mlflow_pages": peer,
        "runs": RUNS, "versions": VERSIONS, "answers": ANSWERS, "feedback": FEEDBACK, "repeats": REPEATS, "seed": SEED,
        "cores": os.cpu_count(), "machine": platform.processor() or platform.machine(),
        "load": round(os.getloadavg()[0], 2),
        "packages": {name: version(name) for name in ("streamlit", "mlflow", "prefect", "playwright")},
    }  # fmt: skip
    say(json.dumps(result))


def look(browser: Browser, url: str) -> dict[str, dict[str, float]]:
    """Page → medians; one look beforehand that is not counted, since a process imports what it first needs."""
    found = {}
    for name in PAGES:
        context = fresh(browser)
        first, _ = measure(context, url, name)
        taken = [measure(context, url, name) for _ in range(REPEATS)]
        context.close()
        content, reaction = (statistics.median(column) for column in zip(*taken, strict=True))
        cold, _ = opened(browser, f"{url}/{'' if name == 'ecosystem' else name}", CONTENT[name])
        found[name] = {
            "content_seconds": round(content, 3),
            "reaction_seconds": round(reaction, 3),
            "cold_seconds": cold,
            "first_seconds": round(first, 3),
        }
        say(f"{name:11} content {content:.2f} s, cold {cold:.2f} (first {first:.2f}), reaction {reaction:.2f}")
    return found


if __name__ == "__main__":
    main()
