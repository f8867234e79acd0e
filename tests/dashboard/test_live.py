"""When a page that stands open is drawn again, and what a list shows then."""

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import live
from dashboard.records import Reading, StoreError
from tests.dashboard.conftest import Draw
from tests.dashboard.installation import Installation
from tests.dashboard.test_pages import Use


def list_of_versions() -> None:
    import streamlit as st

    from dashboard.live import proposed

    versions = st.session_state["versions"]
    st.text(st.selectbox("Version", versions, key=proposed("version", versions[0])))


def opened(*versions: str) -> AppTest:
    test = AppTest.from_function(list_of_versions, default_timeout=60)
    test.session_state["versions"] = list(versions)
    return test.run()


def shown(test: AppTest, *versions: str) -> str:
    test.session_state["versions"] = list(versions)
    return str(test.run().text[0].value)


def test_who_has_not_chosen_is_shown_the_newest() -> None:
    test = opened("v2", "v1")
    assert test.text[0].value == "v2"
    assert shown(test, "v3", "v2", "v1") == "v3"


def test_who_has_chosen_keeps_it_when_something_newer_comes() -> None:
    test = opened("v2", "v1")
    test.selectbox[0].set_value("v1").run()
    assert shown(test, "v3", "v2", "v1") == "v1"
    assert shown(test, "v4", "v3") == "v4"  # what was chosen is gone


def test_a_page_looks_otherwise_with_another_answer_or_another_reason_for_none() -> None:
    down, odd = StoreError("ledger", "down"), StoreError("ledger", "locked")
    assert not live.differs(Reading("ledger", 1, 10.0), Reading("ledger", 1, 20.0))
    assert live.differs(Reading("ledger", 1, 10.0), Reading("ledger", 2, 10.0))
    assert live.differs(Reading("ledger", 1, 10.0), Reading("ledger", 1, 10.0, down))
    assert live.differs(Reading("ledger", None, 10.0, odd), Reading("ledger", None, 10.0, down))


@pytest.mark.parametrize("page", ["models", "feedback", "cost", "evolution", "data", "playground"])
def test_a_page_follows_what_it_is_drawn_from(
    page: str, installation: Installation, environment: Use, draw: Draw
) -> None:
    environment(installation.environment())
    test = draw(page)
    followed = {one.store for one in test.session_state[live.FOLLOWED].values()}
    wanted = {"models": {"registry", "ledger"}, "cost": {"registry", "ledger"}, "evolution": {"registry"}}
    wanted |= {"feedback": {"ledger"}, "data": {"data"}, "playground": {"gateway"}}
    assert followed >= wanted[page]
