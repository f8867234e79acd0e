"""`banyan schedule`: flows by the clock, in a time zone of one's own."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import Json, read_settings, say

if TYPE_CHECKING:
    from flows.schedules import Schedule

app = typer.Typer(no_args_is_help=True, help="Run flows by the clock.")

Name = Annotated[str, typer.Argument(help="As in `banyan schedule list`.")]


@app.command()
def add(
    flow: Annotated[
        str,
        typer.Argument(help="retrain, evaluate, verify, collect_feedback (--table); ingest, train, loop (--recipe)."),
    ],
    cron: Annotated[str, typer.Option("--cron", help='Minute, hour, day, month, weekday: "0 3 * * 1", or @daily.')],
    timezone: Annotated[str, typer.Option("--timezone", help="Whose clock: an IANA name.")] = "UTC",
    table: Annotated[str | None, typer.Option("--table", help="The table that its runs are about.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="A recipe file, or a name in flows/recipes.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="With train: change a field of the recipe (repeatable).")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call it (default: flow and table).")] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Work pool (default: by what the recipe needs).")] = None,
    as_json: Json = False,
) -> None:
    """Start a flow at set times, in a time zone.

    A scheduled retraining counts for itself first, and ends quietly where there is not enough feedback. It is kept
    over a restart of the stack.
    """
    from flows import schedules

    settings = read_settings()
    schedules.next_times(cron, timezone)  # a mistake in these is told before anything is asked of the services
    deployment, parameters, of = schedules.request(flow, table=table, recipe=recipe, changes=set_ or [], pool=pool)
    called = name or f"{flow}-{of}".replace("_", "-")
    times = schedules.add(deployment, parameters, name=called, cron=cron, timezone=timezone, settings=settings)
    facts = {"name": called, "deployment": deployment, "next": [at.isoformat() for at in times]}
    next_ones = ", ".join(f"{at:%a %Y-%m-%d %H:%M}" for at in times)
    say(
        as_json,
        facts,
        f"{called}: {deployment} at {cron} in {timezone}; next {next_ones}",
        "Next: banyan schedule list",
    )


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Say what runs when."""
    from flows import schedules

    found = schedules.found(read_settings())
    lines = [_line(one) for one in found] or [
        'None. For example: banyan schedule add retrain --table T --cron "0 3 * * 1"'
    ]
    say(as_json, {"schedules": [one.as_dict() for one in found]}, *lines)


@app.command()
def rm(name: Name, as_json: Json = False) -> None:
    """End a schedule."""
    from flows import schedules

    gone = schedules.remove(name, read_settings())
    say(as_json, gone.as_dict(), f"{gone.name} is gone; {gone.deployment} runs when it is asked for.")


@app.command()
def pause(name: Name, as_json: Json = False) -> None:
    """Let a schedule rest."""
    from flows import schedules

    one = schedules.switch(name, read_settings(), on=False)
    say(as_json, one.as_dict(), _line(one), f"Next: banyan schedule resume {name}")


@app.command()
def resume(name: Name, as_json: Json = False) -> None:
    """Let a schedule go on that was paused."""
    from flows import schedules

    one = schedules.switch(name, read_settings(), on=True)
    say(as_json, one.as_dict(), _line(one))


def _line(one: "Schedule") -> str:
    when = ", ".join(f"{at:%a %m-%d %H:%M}" for at in one.next_at) or "paused"
    return f"{one.name:<24} {one.deployment:<18} {one.of:<14} {one.cron:<14} {one.timezone:<16} {when}"
