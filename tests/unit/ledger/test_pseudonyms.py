"""People are keyed pseudonyms, and the key is the installation's own."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.errors import LedgerError
from components.ledger.pseudonyms import load_key, pseudonym


def test_a_person_is_the_same_pseudonym_under_one_key_and_another_under_the_next(tmp_path):
    first, second = load_key(tmp_path / "a" / "key"), load_key(tmp_path / "b" / "key")
    assert pseudonym(first, "ada") == pseudonym(first, "ada") != pseudonym(second, "ada")
    assert pseudonym(first, "ada") != pseudonym(first, "bob")


def test_the_key_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    path = tmp_path / "secrets" / "key"
    assert load_key(path) == load_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_all_who_come_first_at_once_share_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(load_key, [tmp_path / "key"] * 32))
    assert len(set(keys)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_damaged_key_is_refused_rather_than_replaced(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"short")
    with pytest.raises(LedgerError, match="has 5 bytes instead of 32"):
        load_key(path)
    assert path.read_bytes() == b"short"
