"""`banyan key`: who may ask the gateway, and who may do more."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.console import Json, moment, say

if TYPE_CHECKING:
    from components.ledger.store import Ledger

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke keys to the gateway.")


@app.command()
def create(
    role: Annotated[
        Literal["viewer", "rater", "operator"],
        typer.Option("--role", help="viewer asks; rater also gives feedback; operator may do everything."),
    ],
    name: Annotated[str, typer.Option("--name", help="Whom or what it is for.")],
    rate: Annotated[int, typer.Option("--rate", min=1, help="Requests a minute.")] = 600,
    as_json: Json = False,
) -> None:
    """Make a key; its secret is shown this once."""
    from components.ledger.keys import KeyRing

    with _ledger() as ledger:
        ring = KeyRing(ledger)
        is_first = not ring.all()
        key, secret = ring.create(name, role=role, requests_per_minute=rate)
    lines = [
        secret,
        f"Key {key.key_id} for {name}: {role}, {rate} requests a minute. Its secret is kept nowhere: note it now.",
    ]
    if is_first:
        lines.append(
            "From now on the gateway asks everybody for a key. The dashboard and this command send BANYAN_API_KEY: "
            "set it to an operator's, and restart the stack."
        )
    say(as_json, asdict(key) | {"secret": secret}, *lines)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    from components.ledger.keys import KeyRing

    with _ledger() as ledger:
        keys = KeyRing(ledger).all()
    lines = [
        f"{key.key_id}  {key.role:<8}  {key.requests_per_minute:>6}/min  made {moment(key.at)}  "
        + (f"revoked {moment(key.revoked_at)}  " if key.revoked_at is not None else "")
        + key.name
        for key in keys
    ]
    say(as_json, {"keys": [asdict(key) for key in keys]}, *(lines or ["There are no keys yet."]))


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="A key's id or name.")], as_json: Json = False) -> None:
    """Close a key for good; the gateway refuses it within a second."""
    from components.ledger.keys import KeyRing

    with _ledger() as ledger:
        closed = KeyRing(ledger).revoke(key)
    say(as_json, asdict(closed), f"Key {closed.key_id} ({closed.name}) opens nothing any more.")


def _ledger() -> "Ledger":
    from components.ledger.store import Ledger
    from components.settings import load_settings

    return Ledger(load_settings())
