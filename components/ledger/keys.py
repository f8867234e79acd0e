"""Keys to the gateway: 256 random bits each, kept as their SHA-256, shown once, revocable.

Not scrypt: a slow hash protects secrets that can be guessed. Nobody guesses 256 random bits, whatever a guess costs,
and a slow hash would cost every request tens of milliseconds, those with a wrong key first of all.
"""

import hashlib
import secrets

from sqlalchemy import select, update

from components.errors import UsageError
from components.ledger.schema import Key, Role, keys
from components.ledger.store import Ledger

ROLES: tuple[Role, ...] = ("viewer", "rater", "operator")
"""Each may what those before it may."""
REQUESTS_PER_MINUTE = 600
_PREFIX = "bny"


class KeyRing:
    """The keys of one installation. Every method raises LedgerError when the database does not take or give them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._database = ledger.database

    def create(self, name: str, *, role: Role, requests_per_minute: int = REQUESTS_PER_MINUTE) -> tuple[Key, str]:
        """A new key, and its secret, which is kept nowhere.

        Raises:
            UsageError: the role is unknown, the name empty, too long or taken by a key that opens, or the rate not
                positive.
        """
        if role not in ROLES:
            raise UsageError(f"there is no role {role!r}", f"roles are {', '.join(ROLES)}")
        if not name.strip() or len(name) > 128 or not name.isprintable():
            raise UsageError("a key's name is one line of 1 to 128 characters", "--name says whom it is for")
        if requests_per_minute < 1:
            raise UsageError(f"{requests_per_minute} requests a minute open nothing", "a rate is 1 or more")
        key_id = secrets.token_hex(4)
        secret = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
        at = self._ledger.now()
        row = {
            "key_id": key_id,
            "name": name,
            "role": role,
            "secret_sha256": digest(secret),
            "at": at,
            "requests_per_minute": requests_per_minute,
        }
        with self._database.write() as connection:
            taken = select(keys.c.key_id).where(keys.c.name == name, keys.c.revoked_at.is_(None))
            if connection.execute(taken).first() is not None:
                raise UsageError(f"a key is already named {name!r}", f"revoke it first: banyan key revoke {name!r}")
            connection.execute(keys.insert(), row)
        return Key(key_id, name, role, at, requests_per_minute, None), secret

    def revoke(self, which: str) -> Key:
        """Close a key, by its id or its name, for good; a closed one stays as it is.

        Raises:
            UsageError: no key has this id or name.
        """
        with self._database.write() as connection:
            mine = (keys.c.key_id == which) | ((keys.c.name == which) & keys.c.revoked_at.is_(None))
            connection.execute(
                update(keys).where(mine, keys.c.revoked_at.is_(None)).values(revoked_at=self._ledger.now())
            )
        found = [key for key in self.all() if which in (key.key_id, key.name)]
        if not found:
            raise UsageError(f"there is no key {which!r}", "see: banyan key list")
        return found[-1]

    def all(self) -> list[Key]:
        """Every key that was ever made, oldest first."""
        return list(self.by_digest().values())

    def by_digest(self) -> dict[str, Key]:
        """The hash of each key's secret, and the key."""
        with self._database.read() as connection:
            rows = connection.execute(select(keys).order_by(keys.c.at, keys.c.key_id)).all()
        return {
            row.secret_sha256: Key(row.key_id, row.name, row.role, row.at, row.requests_per_minute, row.revoked_at)
            for row in rows
        }


def digest(secret: str) -> str:
    """What is kept of a key, hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
