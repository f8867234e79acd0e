"""Who may ask: nobody from outside without a key."""

import hashlib
import hmac
from collections.abc import Callable

from fastapi import Request
from pydantic import SecretStr

from components.errors import RecipeError
from components.settings import PREFIX, Settings

LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]
"""What a `Host` header may say on loopback: a web page that rebinds its own name to 127.0.0.1 is turned away."""


class NotAuthorised(Exception):
    """No key, or not the right one; answered with 401."""


def refuse_open_binding(settings: Settings) -> None:
    """Off loopback the gateway starts only with a key.

    Raises:
        RecipeError: the address is reachable from other machines and no key is set.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if not settings.is_loopback and not key.strip():
        raise RecipeError(
            f"the gateway would listen on {settings.host} without a key",
            f"set {PREFIX}API_KEY, or bind to 127.0.0.1",
        )


def key_check(api_key: SecretStr | None) -> Callable[[Request], None]:
    """A check that raises NotAuthorised unless the request carries `Authorization: Bearer <key>`.

    Only the key's hash is kept, and hashes are compared in constant time.
    """
    expected = _digest(api_key.get_secret_value()) if api_key else None

    def check(request: Request) -> None:
        if expected is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), expected):
            raise NotAuthorised

    return check


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
