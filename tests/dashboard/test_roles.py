"""Who may do what: by OIDC claims, on the server side, and nobody from outside without a provider."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit import config
from streamlit.runtime.secrets import secrets_singleton

from components.errors import RecipeError
from components.ledger.actions import Actor
from components.ledger.store import Ledger
from dashboard import roles
from dashboard.records import StoreError
from dashboard.roles import is_loopback, name_of, role_of
from dashboard.stores import Stores
from tests.dashboard.conftest import Draw, words_on
from tests.dashboard.installation import Installation

RULES = {"operator": ["ana@example.org"], "rater": ["ben@example.org"], "default": "viewer"}


def claims(email: str, **more: Any) -> dict[str, Any]:
    return {"sub": "s-1", "email": email, **more}


@pytest.mark.parametrize(
    ("email", "role"), [("ana@example.org", "operator"), ("ben@example.org", "rater"), ("eve@example.org", "viewer")]
)
def test_a_role_follows_from_the_email_address(email: str, role: str) -> None:
    assert role_of(claims(email), RULES) == role


def test_an_address_that_the_provider_has_not_checked_gives_no_role() -> None:
    assert role_of(claims("ana@example.org", email_verified=False), RULES) == "viewer"
    assert name_of(claims("ana@example.org", email_verified=False)) == "s-1"


def test_without_a_default_a_stranger_has_no_role() -> None:
    assert role_of(claims("eve@example.org"), {"operator": ["ana@example.org"]}) is None


def test_groups_give_the_highest_role_that_one_of_them_has() -> None:
    rules = {"claim": "groups", "operator": ["ml-ops"], "rater": ["everybody"]}
    assert role_of(claims("x", groups=["everybody", "ml-ops"]), rules) == "operator"
    assert role_of(claims("x", groups=["everybody"]), rules) == "rater"


@pytest.mark.parametrize("rules", [{"operators": ["x"]}, {"default": "root"}, {"operator": "ana@example.org"}])
def test_a_rule_with_a_typo_opens_to_nobody(rules: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="roles"):
        role_of(claims("ana@example.org"), rules)


def test_loopback_has_several_names() -> None:
    assert all(is_loopback(name) for name in ("127.0.0.1", "localhost", "::1", "127.8.8.8"))
    assert not any(is_loopback(name) for name in ("0.0.0.0", "10.0.0.2", "::", "example.org"))


@pytest.fixture
def bound_to() -> Iterator[Callable[[str], None]]:
    yield lambda address: config.set_option("server.address", address)
    config.set_option("server.address", "127.0.0.1")


def test_off_loopback_nothing_is_shown_without_a_provider(
    bound_to: Callable[[str], None], installation: Installation, environment: Any, draw: Draw
) -> None:
    environment(installation.environment())
    bound_to("0.0.0.0")
    shown = words_on(draw("ecosystem"))
    assert "refuses to serve" in shown
    assert "n-training" not in shown


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[None]:
    """Secrets that name a provider, whom nobody has asked yet."""
    file = tmp_path / "secrets.toml"
    file.write_text('[auth]\nclient_id = "x"\n[roles]\ndefault = "viewer"\n')
    config.set_option("secrets.files", [str(file)])
    secrets_singleton._reset()
    yield
    config.set_option("secrets.files", [])
    secrets_singleton._reset()


def test_who_has_not_signed_in_sees_the_door_and_nothing_else(
    provider: None, installation: Installation, environment: Any, draw: Draw
) -> None:
    environment(installation.environment())
    assert roles.has_provider()
    test = draw("ecosystem")
    assert "Who is there?" in words_on(test)
    assert "n-training" not in words_on(test)
    assert [button.label for button in test.button] == ["Sign in"]


@pytest.mark.parametrize("role", ["viewer", "rater"])
def test_the_stores_refuse_what_a_page_did_not_offer(role: Any, installation: Installation) -> None:
    stores, actor = Stores(installation.settings), Actor("eve@example.org", role)
    before = len(stores.orchestration().runs)
    with pytest.raises(StoreError, match="needs the role operator"):
        stores.start_retraining("library", actor=actor)
    with pytest.raises(StoreError, match="needs the role operator"):
        stores.roll_back("banyan-library", to=1, reason="because", actor=actor)
    assert len(stores.orchestration().runs) == before
    assert next(m for m in stores.models() if m.table == "library" and m.is_champion).version == 3
    assert [(row.action, row.outcome, row.actor) for row in stores.actions()[:2]] == [
        ("rollback", "refused", "eve@example.org"),
        ("retrain", "refused", "eve@example.org"),
    ]


def test_a_viewer_says_nothing_of_an_answer(installation: Installation) -> None:
    stores = Stores(installation.settings)
    answered = stores.ask("library", "Is it a graph?", actor=Actor("eve@example.org", "viewer"))
    with pytest.raises(StoreError, match="needs the role rater"):
        stores.give_feedback(answered.request_id, actor=Actor("eve@example.org", "viewer"), kind="approve")
    with Ledger(installation.settings) as ledger:
        assert answered.request_id not in {row.request_id for row in ledger.feedback("library", limit=5)}


def test_an_operator_rolls_back_and_forth_through_journal_and_door(installation: Installation) -> None:
    stores, ana = Stores(installation.settings), Actor("ana@example.org", "operator")
    assert stores.roll_back("banyan-library", to=1, reason="too slow", actor=ana) == 1
    move = stores.ledger().journal[-1]
    assert (move.action, move.actor, move.evidence) == ("rollback", "ana@example.org", {"reason": "too slow"})
    assert stores.roll_back("banyan-library", to=3, reason="it was not that", actor=ana) == 3
    assert {(row.action, row.outcome) for row in stores.actions()[:2]} == {("rollback", "done")}
