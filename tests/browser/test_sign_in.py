"""Signing in by OIDC, at a provider that is ours for the test: what each role sees, and what the door keeps."""

from collections.abc import Iterator

import oidc_provider_mock
import pytest
from playwright.sync_api import Browser, Page, expect

from components.feedback import reasons
from components.ledger.store import Ledger
from dashboard.text import Words
from tests.browser.conftest import PATIENCE_MS, serve
from tests.browser.test_dashboard import STILL
from tests.dashboard.installation import Installation, free_port

pytestmark = pytest.mark.browser

SECRETS = """
[auth]
redirect_uri = "{url}/oauth2callback"
cookie_secret = "nobody guesses this one in a test"
client_id = "banyan"
client_secret = "of no use elsewhere"
server_metadata_url = "http://127.0.0.1:{provider}/.well-known/openid-configuration"
client_kwargs = {{ scope = "openid email profile" }}

[roles]
claim = "email"
operator = ["ana@example.org"]
rater = ["ben@example.org"]
"""


@pytest.fixture(scope="module")
def guarded(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard that asks who is there; its URL."""
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    people = [
        oidc_provider_mock.User(sub=name, claims={"email": f"{name}@example.org", "email_verified": True})
        for name in ("ana", "ben", "eve")
    ]
    with oidc_provider_mock.run_server_in_thread(user_claims=people) as provider:
        secrets = folder / "secrets.toml"
        secrets.write_text(SECRETS.format(url=f"http://127.0.0.1:{port}", provider=provider.server_port))
        more = ("--secrets.files", str(secrets))
        with serve(installation.environment(), folder, port=port, more=more) as url:
            yield url


@pytest.fixture
def sign_in(browser: Browser, guarded: str) -> Iterator["SignIn"]:
    made = SignIn(browser, guarded)
    yield made
    for page in made.pages:
        page.context.close()


class SignIn:
    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url
        self.pages: list[Page] = []

    def __call__(self, name: str) -> Page:
        page = self.browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        self.pages.append(page)
        page.set_default_timeout(PATIENCE_MS)
        page.goto(self.url)
        expect(page.locator(".b-title")).to_have_text("Who is there?")
        expect(page.get_by_role("link", name="Runs")).to_have_count(0)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_url(f"{self.url}/**")
        return page


def test_an_operator_may_start_and_roll_back(sign_in: SignIn) -> None:
    page = sign_in("ana")
    expect(page.get_by_text("ana@example.org · operator")).to_be_visible()
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("button", name="Roll back")).to_be_visible()


def test_an_operator_overrules_a_refusal_and_the_rows_way_says_why(sign_in: SignIn, installation: Installation) -> None:
    say = Words("en")
    with Ledger(installation.settings, mask=list) as ledger:
        said = {"kind": "correct", "correction": "Adds two numbers.", "channel": "api"}
        ledger.record_feedback("overruled", request_id="request-summary", **said)
        ledger.append_fates([ledger.fate("overruled", "refused", reason=reasons.BURST)])
    page = sign_in("ana")
    page.get_by_role("link", name=say("page.feedback")).click()
    page.get_by_role("radio", name="summary").click()
    row = page.locator(".b-row", has_text=say.named("reason", reasons.BURST))
    expect(row).to_be_visible()
    page.wait_for_selector(STILL)
    page.get_by_role("button", name=say("appeal.button")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(say("appeal.why")).fill("one person, a whole lab")
    dialog.get_by_role("button", name=say("appeal.yes")).click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name=say("appeal.button"))).to_have_count(0)
    page.get_by_text(say("feedback.lookup"), exact=True).click()
    page.get_by_label(say("feedback.lookup.id")).fill("overruled")
    page.keyboard.press("Enter")
    done = [say("fate.received"), say.named("reason", reasons.BURST), "one person, a whole lab"]
    expect(page.locator(".b-steps li.done")).to_contain_text(done)
    with Ledger(installation.settings, mask=list) as ledger:
        now = ledger.fate_of("overruled")[-1]
        asked = next(one for one in ledger.actions(limit=30) if one.subject == "overruled")
    assert (now.fate, now.effect) == ("received", {"why": "one person, a whole lab"})
    assert (asked.action, asked.actor, asked.outcome) == ("appeal", "ana@example.org", "done")


def test_a_rater_is_offered_nothing_that_is_an_operators(sign_in: SignIn) -> None:
    page = sign_in("ben")
    expect(page.get_by_text("ben@example.org · rater")).to_be_visible()
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_text("This takes the role “operator”")).to_be_visible()
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)


def test_somebody_without_a_role_sees_that_and_can_leave(sign_in: SignIn) -> None:
    page = sign_in("eve")
    expect(page.locator(".b-box")).to_contain_text("You have no role here")
    expect(page.locator(".node")).to_have_count(0)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
