"""Who may do what: keys with roles, a rate for each, and nobody from outside without one."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request

from components.errors import RecipeError
from components.ledger.keys import ROLES, KeyRing, digest
from components.ledger.schema import Key, Role
from components.ledger.store import Ledger
from components.serving.limits import Allowance
from components.settings import PREFIX, Settings

LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]
"""What a `Host` header may say on loopback: a web page that rebinds its own name to 127.0.0.1 is turned away."""
LOOK_AGAIN_SECONDS = 1.0
"""A revoked key opens at most this much longer."""


class NotAuthorised(Exception):
    """No key, or not one that opens; answered with 401."""


class NotAllowed(Exception):
    """A key whose role does not reach so far; answered with 403."""


class TooFast(Exception):
    """A key that asks faster than it may; answered with 429. Its argument: after how many seconds to try again."""


def route_of(request: Request) -> str:
    """The route's template, not the path: people type into that. Empty where none was found."""
    return getattr(request.scope.get("route"), "path", "")


@dataclass(frozen=True)
class Caller:
    """Who asks. `key_id` is empty for the operators' key of the settings, and where no key is asked for."""

    role: Role
    key_id: str = ""
    requests_per_minute: int | None = None


def refuse_open_binding(settings: Settings, ledger: Ledger | None = None) -> None:
    """Off loopback the gateway starts only with a key: one in the settings, or one in the ledger that opens.

    Raises:
        RecipeError: the address is reachable from other machines and there is no key.
        LedgerError: the ledger cannot be opened to look for one.
    """
    if settings.is_loopback or _of(settings):
        return
    if not _has_key_that_opens(settings, ledger):
        raise RecipeError(
            f"the gateway would listen on {settings.host} without a key",
            f"banyan key create --role operator --name me, or set {PREFIX}API_KEY, or bind to 127.0.0.1",
        )


def _has_key_that_opens(settings: Settings, ledger: Ledger | None) -> bool:
    if ledger is not None:
        return any(key.revoked_at is None for key in KeyRing(ledger).all())
    if settings.ledger_url is None and not settings.workspace.ledger.exists():
        return False  # a refusal leaves nothing behind
    with Ledger(settings) as own:
        return _has_key_that_opens(settings, own)


class Door:
    """Lets in or refuses. Every refusal is logged, without what was sent, and counted."""

    def __init__(
        self,
        settings: Settings,
        *,
        read_keys: Callable[[], Awaitable[Mapping[str, Key]]],
        refused: Callable[[str, str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read_keys` gives the ledger's keys by the hash of their secret; `refused` hears method, route and reason."""
        self._operator = digest(key) if (key := _of(settings)) else None
        self._must_have_key = not settings.is_loopback or self._operator is not None
        self._read_keys = read_keys
        self._refused = refused
        self._clock = clock
        self._keys: Mapping[str, Key] = {}
        self._read_at = float("-inf")
        self._one_read = asyncio.Lock()
        self._allowances: dict[str, Allowance] = {}

    def needs(self, role: Role) -> Callable[[Request], Awaitable[Caller]]:
        """A dependency that lets in who has `role` or a higher one.

        It raises NotAuthorised, NotAllowed or TooFast, and LedgerError when the keys cannot be read.
        """

        async def check(request: Request) -> Caller:
            try:
                caller = await self._caller(request)
                if ROLES.index(caller.role) < ROLES.index(role):
                    raise NotAllowed(f"this needs the role {role}; the key is a {caller.role}'s")
                self._allow(caller)
            except (NotAuthorised, NotAllowed, TooFast) as refusal:
                reason = {NotAuthorised: "no valid key", NotAllowed: "role", TooFast: "rate"}[type(refusal)]
                self._refused(request.method, route_of(request), reason)
                raise
            return caller

        return check

    async def _caller(self, request: Request) -> Caller:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        sent = digest(given.strip()) if scheme.lower() == "bearer" else ""
        if self._operator is not None and hmac.compare_digest(sent, self._operator):
            return Caller("operator")
        keys = await self._fresh_keys()
        # A lookup by hash tells nothing by its time: whoever can steer a SHA-256 to a prefix knows the key.
        key = keys.get(sent)
        if key is not None and key.revoked_at is None:
            return Caller(key.role, key.key_id, key.requests_per_minute)
        # Once a key was made, the gateway is closed, and stays so when all are revoked.
        if self._must_have_key or keys:
            raise NotAuthorised
        return Caller("operator")

    async def _fresh_keys(self) -> Mapping[str, Key]:
        if self._clock() - self._read_at >= LOOK_AGAIN_SECONDS:
            async with self._one_read:
                if self._clock() - self._read_at >= LOOK_AGAIN_SECONDS:
                    self._keys = await self._read_keys()
                    self._read_at = self._clock()
        return self._keys

    def _allow(self, caller: Caller) -> None:
        if caller.requests_per_minute is None:
            return
        allowance = self._allowances.setdefault(caller.key_id, Allowance(caller.requests_per_minute, self._clock))
        if (wait := allowance.take()) > 0:
            raise TooFast(wait)


def _of(settings: Settings) -> str:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return key if key.strip() else ""
