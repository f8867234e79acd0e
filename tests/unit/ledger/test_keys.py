import sqlite3

import pytest

from components.errors import UsageError
from components.ledger.keys import KeyRing, digest

from .conftest import on_sqlite


@pytest.fixture
def ring(ledger) -> KeyRing:
    return KeyRing(ledger)


def test_a_secret_is_random_recognised_and_different_each_time(ring):
    key, secret = ring.create("the shop", role="rater")
    other, another = ring.create("the lab", role="viewer", requests_per_minute=5)
    assert secret != another and len(secret) > 50
    assert ring.by_digest()[digest(secret)] == key
    assert ring.all() == [key, other] or ring.all() == [other, key]
    assert (key.role, key.revoked_at, other.requests_per_minute) == ("rater", None, 5)
    assert digest(secret + "x") not in ring.by_digest()


@on_sqlite
def test_no_secret_is_in_the_files(ring, ledger, settings):
    key, secret = ring.create("the shop", role="operator")
    ledger.close()
    kept = b"".join(path.read_bytes() for path in settings.workspace.root.glob("ledger.db*"))
    assert b"the shop" in kept
    assert secret.partition(f"_{key.key_id}_")[2].encode() not in kept


def test_a_revoked_key_stays_revoked_and_its_name_is_free_again(ring, clock):
    key, secret = ring.create("the shop", role="rater")
    clock.time += 5
    closed = ring.revoke("the shop")
    clock.time += 5
    assert closed.revoked_at == clock.time - 5
    assert ring.revoke(key.key_id) == closed
    ring.create("the shop", role="viewer")
    assert ring.by_digest()[digest(secret)].revoked_at is not None


@pytest.mark.parametrize(
    "asked",
    [
        {"name": "x", "role": "king"},
        {"name": " ", "role": "rater"},
        {"name": "two\nlines", "role": "rater"},
        {"name": "x", "role": "rater", "requests_per_minute": 0},
    ],
)
def test_a_key_that_cannot_be_is_refused(ring, asked):
    with pytest.raises(UsageError):
        ring.create(**asked)
    assert ring.all() == []


def test_two_keys_that_open_do_not_share_a_name(ring):
    ring.create("the shop", role="rater")
    with pytest.raises(UsageError, match="already named"):
        ring.create("the shop", role="viewer")


def test_revoking_what_is_not_there_says_so(ring):
    with pytest.raises(UsageError, match="there is no key"):
        ring.revoke("nobody")


@on_sqlite
def test_a_ledger_never_holds_what_would_open_the_gateway(ring, settings):
    _, secret = ring.create("the shop", role="rater")
    with sqlite3.connect(settings.workspace.ledger) as other:
        [(kept,)] = other.execute("SELECT secret_sha256 FROM keys").fetchall()
    assert kept == digest(secret)
    assert digest(kept) not in ring.by_digest()
