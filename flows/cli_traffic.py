"""`banyan canary`: let a challenger answer a part of the requests, or listen to them, and end it."""

from typing import Annotated, NoReturn

import typer

from components.errors import UsageError
from flows.console import Json, moment, read_settings, say

app = typer.Typer(no_args_is_help=True)


@app.command()
def canary(
    table: Annotated[str | None, typer.Argument(help="The table. Without it: who has a part now.")] = None,
    version: Annotated[int | None, typer.Option("--version", min=1, help="The version that gets a part.")] = None,
    percent: Annotated[
        float | None, typer.Option("--percent", help="Its part in per cent; a subject stays on its side.")
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Let it listen only: what it says is kept and shown to nobody.")
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="End it: all to the champion again.")] = False,
    as_json: Json = False,
) -> None:
    """Try a version on a part of the live traffic.

    It is loaded first; one that does not load is refused. Every change is in the journal.
    """
    import getpass

    from flows import gateway

    settings = read_settings()
    kind = "shadow" if shadow else "canary"
    if table is None:
        if version is not None or percent is not None or off:
            _refuse("which table?", "for example: banyan canary library --version 3 --percent 10")
        found = gateway.parts(settings)
        lines = [
            f"{one['table']:<12} {one['kind']:<8} v{one['version']} {one['percent']:g} % since {moment(one['since'])}, "
            f"by {one['actor']}: {one['state']}{' ' + one['problem'] if one['problem'] else ''}"
            for one in found
        ]
        say(as_json, {"splits": found}, *(lines or ["The champions answer alone."]))
        return
    actor = f"cli:{getpass.getuser()}"
    if off:
        if version is not None or percent is not None:
            _refuse("--off ends it, whatever its version and part are", "leave --version and --percent out")
        ended = gateway.end_part(table, kind, actor=actor, settings=settings)
        say(as_json, ended, f"v{ended['version']} is no longer the {kind} of {table}.")
        return
    if version is None or (percent is None and not shadow):
        _refuse("say which version and what part", f"for example: banyan canary {table} --version 3 --percent 10")
    part = {"kind": kind, "version": version, "percent": 100.0 if percent is None else percent, "actor": actor}
    given = gateway.give_part(table, part, settings=settings)
    what = "answers" if kind == "canary" else "hears"
    say(
        as_json,
        given,
        f"v{version} {what} {given['percent']:g} % of {table} from now on.",
        f"Next: banyan journal log {table} | banyan canary {table} {'--shadow ' if shadow else ''}--off",
    )


def _refuse(message: str, remedy: str) -> NoReturn:
    raise UsageError(message, remedy)
