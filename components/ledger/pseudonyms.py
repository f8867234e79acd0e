"""People in the ledger: keyed pseudonyms, so that a leaked ledger names nobody.

HMAC (RFC 2104) rather than a plain hash: addresses and names are few enough to try them all.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from components.errors import LedgerError

KEY_BYTES = 32


def load_key(path: Path) -> bytes:
    """The installation's key: 32 random bytes in a file of mode 0600, made when it is not there.

    Several processes may come first at once: all get the key of the one that wins.

    Raises:
        LedgerError: the file cannot be read or made, or holds something else.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            mine = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(mine, path)  # unlike a rename it never replaces another's key
            finally:
                mine.unlink(missing_ok=True)
        key = path.read_bytes()
    except OSError as err:
        raise LedgerError(
            f"the pseudonym key {path} cannot be used: {err.strerror}", "check its owner and mode"
        ) from err
    if len(key) != KEY_BYTES:
        remedy = "restore it from a backup: with a new key, a person's old rows are no longer found"
        raise LedgerError(f"the pseudonym key {path} has {len(key)} bytes instead of {KEY_BYTES}", remedy)
    return key


def pseudonym(key: bytes, subject: str) -> str:
    """128 bits, hexadecimal: the same person is the same pseudonym, in this installation only."""
    return hmac.new(key, subject.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]
