"""One small installation for the whole session, and pages drawn on it without a browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest

from tests.dashboard.installation import Installation, shared

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
Draw = Callable[..., AppTest]


@pytest.fixture(scope="session")
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return shared(request, tmp_path_factory)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Set what the dashboard is started with; what earlier pages remember is forgotten."""
    st.cache_resource.clear()
    config.set_option("server.address", "127.0.0.1")

    def use(values: dict[str, str]) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    yield use
    st.cache_resource.clear()


@pytest.fixture
def draw() -> Draw:
    def page(name: str, *, language: str = "en") -> AppTest:
        test = AppTest.from_file(str(APP), default_timeout=60)
        test.query_params["lang"] = language
        test.run()
        if name != "ecosystem":
            test.switch_page(f"views/{name}.py").run()
        assert not test.exception, test.exception
        return test

    return page


def words_on(test: AppTest) -> str:
    """Everything that stands on a page, as markup."""
    found = [element.proto.body for element in test.get("html")]
    found += [element.proto.mixed.json or element.proto.json for element in test.get("bidi_component")]
    return "\n".join(found)
