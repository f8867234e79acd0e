"""A conversation in a browser, over the real gateway: its words come while they are written, and stand as they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import expect

from components.data import manifests, versioning
from components.data.tables import write_split, write_table_info
from components.ledger.store import Ledger
from components.refs import DataRef, ModelRef
from components.settings import Settings
from dashboard.text import Words
from tests.browser.conftest import Open, serve
from tests.browser.test_dashboard import STILL, shot
from tests.dashboard.dictated import Dictated, Dictating
from tests.dashboard.installation import gateway

pytestmark = pytest.mark.browser
DOCUMENT = "A banyan is a fig tree. It drops roots from its branches."
BEGINNING = "It drops **roots** <b>down</b>"
END = ", $x$ of them :seedling: [1]"


@dataclass(frozen=True)
class Talk:
    url: str
    settings: Settings
    decoder: Dictated


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    """A dashboard over a gateway whose champion writes a beginning, and its end when the test says so."""
    settings, folder = Settings(BANYAN_WORKSPACE=tmp_path / "workspace"), tmp_path / "version"  # type: ignore[call-arg]
    row = {"id": "0" * 16, "text": DOCUMENT, "source": "trees", "licence": "ours", "group": "fig.md"}
    write_split(folder, "trees", "train", pd.DataFrame([row]), task="corpus")
    write_table_info(folder, "trees", task="corpus", labels=(), licences={})
    data = DataRef(version="f" * 32, tables={"trees": "0" * 64})
    monkeypatch.setattr(manifests, "head", lambda _: data)
    monkeypatch.setattr(versioning, "path_of", lambda *_: folder)
    (settings.workspace.data / "manifests").mkdir(parents=True)
    (settings.workspace.data / "manifests" / f"{data.version}.json").touch()  # or its index would be forgotten
    *words, last = [f"{word} " for word in BEGINNING.split()]
    decoder = Dictated([*words, last.rstrip(), END], held=len(words) + 1)
    ref = ModelRef(name="banyan-talk", version=3, run_id="r", weights_sha256="3" * 64)
    engine = Dictating(ref, task="dialogue", decoder=decoder)
    with gateway(settings, {"talk": (ref, "dialogue")}, load=lambda *_: engine) as gateway_url:
        own = {"BANYAN_WORKSPACE": str(settings.workspace.root), "BANYAN_GATEWAY_URL": gateway_url}
        nowhere = {f"BANYAN_{name}_URL": "http://127.0.0.1:9" for name in ("MLFLOW", "PREFECT")}
        with serve(own | nowhere, tmp_path) as url:
            yield Talk(url, settings, decoder)


def test_words_are_read_before_the_answer_is_whole_and_a_click_meanwhile_loses_nothing(
    talk: Talk, open_at: Open
) -> None:
    page, say = open_at("playground", url=talk.url), Words("zh")
    page.get_by_test_id("stChatInputTextArea").fill("What drops roots?")
    page.keyboard.press("Enter")
    told = page.get_by_test_id("stChatMessage").nth(1)
    expect(told.get_by_test_id("stText")).to_have_text(BEGINNING)
    expect(page.get_by_text("Rate this turn")).to_have_count(0)
    page.get_by_test_id("stSidebar").get_by_text("中文").click()
    expect(page.locator(".b-title")).to_have_text(say("page.playground"))
    expect(page.get_by_test_id("stChatMessage").first).to_contain_text("What drops roots?")
    expect(told.get_by_test_id("stText")).to_have_text(BEGINNING)

    talk.decoder.go_on.set()

    rate = page.get_by_text(say("talk.rate"))
    expect(rate).to_be_visible()
    expect(told.get_by_test_id("stText").first).to_have_text(BEGINNING + END)
    expect(told.locator(".b-note").first).to_have_text("[1] fig.md: “It drops roots from its branches.”")
    expect(told.get_by_text(say("talk.retrieved"))).to_be_visible()
    page.wait_for_selector(STILL)
    shot(page, "talk-zh")
    rate.click()
    page.get_by_role("button", name=say("playground.approve")).click()
    expect(told.locator(".b-steps li.done")).to_have_text([say("fate.received")])
    with Ledger(talk.settings, mask=list) as ledger:
        [row] = ledger.feedback("talk", limit=5)
        assert (row.kind, ledger.answer(row.request_id).output) == ("approve", BEGINNING + END)
