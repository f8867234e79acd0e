"""Flows by the clock: the schedules of Prefect's deployments, each in a time zone of its own.

They are kept by Prefect, in its database; telling it of the deployments again leaves them as they are.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from components.errors import UsageError
from components.settings import Settings
from flows.remote import Prefect

NUM_NEXT = 3
OF_TABLE = ("retrain", "evaluate", "verify", "collect_feedback")
OF_RECIPE = ("ingest", "train", "loop")


@dataclass(frozen=True)
class Schedule:
    """One line of a table."""

    name: str
    """Unique among all deployments."""
    deployment: str
    """`flow/pool`."""
    deployment_id: str
    id: str
    cron: str
    timezone: str
    is_active: bool
    of: str
    """The table or the recipe that its runs are about."""
    next_at: tuple[datetime, ...]
    """The times of the next runs, in its zone; none while it is paused."""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        keys = ("name", "deployment", "cron", "timezone", "is_active", "of")
        return {key: getattr(self, key) for key in keys} | {"next": [at.isoformat() for at in self.next_at]}


def next_times(cron: str, timezone: str, *, count: int = NUM_NEXT) -> tuple[datetime, ...]:
    """When a schedule would start its next runs, by Prefect's own reckoning; in its zone.

    Raises:
        UsageError: the expression or the zone does not read, or the time never comes (a 30th of February).
    """
    import asyncio

    from prefect.server.schemas.schedules import CronSchedule  # with Prefect's server, 1 s
    from pydantic import ValidationError

    example = 'for example: --cron "0 3 * * 1" --timezone Asia/Shanghai'
    if not cron.startswith("@") and len(cron.split()) != 5:
        raise UsageError(f"--cron {cron!r} has not five fields: minute, hour, day, month, weekday", example)
    try:
        zone = ZoneInfo(timezone)
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as err:
        raise UsageError(f"--cron {cron!r} does not read as minute, hour, day, month, weekday", example) from err
    except (KeyError, ValueError, OSError) as err:  # ZoneInfo: unknown, impossible, a folder
        raise UsageError(f"there is no time zone {timezone!r}", "give an IANA name: Asia/Shanghai, UTC") from err
    try:
        found = asyncio.run(schedule.get_dates(count))
    except ValueError as err:  # croniter's: no such date within fifty years
        raise UsageError(f"--cron {cron!r} names a time that never comes", example) from err
    return tuple(datetime.fromtimestamp(at.timestamp(), zone) for at in found)


def request(
    flow: str, *, table: str | None, recipe: str | None, changes: list[str], pool: str | None
) -> tuple[str, dict[str, Any], str]:
    """The deployment that a schedule starts, what its runs are given, and what they are about.

    Raises:
        UsageError: the flow is not one that goes by the clock, or lacks its table or recipe, or has too much.
        RecipeError: there is no such recipe.
    """
    from flows import own, policies
    from flows.deployments import by_itself

    if flow not in OF_TABLE + OF_RECIPE:
        raise UsageError(f"{flow!r} does not go by the clock", f"one of: {', '.join(OF_TABLE + OF_RECIPE)}")
    if flow in OF_TABLE and (table is None or recipe is not None or changes):
        raise UsageError(f"{flow} wants a table, and nothing else", f"for example: {flow} --table library")
    if flow in ("ingest", "train") and recipe is None:
        raise UsageError(f"{flow} wants a recipe", f"for example: {flow} --recipe library")
    if flow in ("ingest", "loop") and (table is not None or changes):
        raise UsageError(f"{flow} takes its table from the recipe", "leave --table and --set out")
    if flow == "train":
        kind, given, chosen = own.training_request(recipe or "", table=table, changes=changes)
        return f"{kind}/{pool or policies.pool_of(chosen)}", given, chosen.name
    if flow == "retrain":
        return f"retrain/{pool or 'cpu'}", by_itself(table), str(table)
    if pool not in (None, "cpu"):
        raise UsageError(f"{flow} trains nothing: it runs in pool cpu", "leave --pool out")
    if flow in OF_TABLE:
        return f"{flow}/cpu", {"model" if flow == "verify" else "table": table}, str(table)
    made = own.ingest_recipe(recipe or "") if flow == "ingest" else own.loop_recipe(recipe or "loop")
    return f"{flow}/cpu", {"recipe": made.model_dump(mode="json")}, made.name


def add(
    deployment: str, parameters: dict[str, Any], *, name: str, cron: str, timezone: str, settings: Settings
) -> tuple[datetime, ...]:
    """Tells Prefect; the times of the next runs.

    Raises:
        UsageError: the time does not read, or another schedule has that name.
    """
    times = next_times(cron, timezone)
    prefect = Prefect(settings)
    if any(one.name == name for one in found(settings)):
        raise UsageError(f"there is a schedule {name} already", f"give another --name, or: banyan schedule rm {name}")
    there = prefect.deployment(deployment)
    clock = {"cron": cron, "timezone": timezone}
    body = {"schedule": clock, "active": True, "parameters": parameters, "slug": name}
    prefect.call("POST", f"/deployments/{there['id']}/schedules", [body])
    return times


def found(settings: Settings) -> list[Schedule]:
    """All of them, by name; their next runs as Prefect has planned them, or will within seconds."""
    prefect = Prefect(settings)
    flows = {row["id"]: row["name"] for row in prefect.call("POST", "/flows/filter", {"limit": 200})}
    made = []
    for row in prefect.call("POST", "/deployments/filter", {"limit": 200}):
        for one in row["schedules"]:
            clock = one["schedule"]
            if "cron" not in clock:  # somebody's own, made elsewhere: an interval
                continue
            zone, is_active = clock.get("timezone") or "UTC", bool(one["active"]) and not row.get("paused")
            made.append(
                Schedule(
                    name=one.get("slug") or one["id"],
                    deployment=f"{flows.get(row['flow_id'], '?')}/{row['name']}",
                    deployment_id=row["id"],
                    id=one["id"],
                    cron=clock["cron"],
                    timezone=zone,
                    is_active=is_active,
                    of=about(one.get("parameters") or {}),
                    next_at=next_times(clock["cron"], zone) if is_active else (),
                )
            )
    return sorted(made, key=lambda one: one.name)


def about(parameters: dict[str, Any]) -> str:
    """The table, model or recipe that a run with these parameters is about."""
    recipe = parameters.get("recipe")
    of_recipe = (recipe.get("table") or recipe.get("name")) if isinstance(recipe, dict) else None
    return str(parameters.get("table") or parameters.get("model") or of_recipe or "")


def named(name: str, settings: Settings) -> Schedule:
    """The schedule of that name. Raises UsageError: there is none."""
    all_of_them = found(settings)
    for one in all_of_them:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in all_of_them) or "none"
    raise UsageError(f"there is no schedule {name}", f"there are: {known}")


def remove(name: str, settings: Settings) -> Schedule:
    """Ends it, and the runs that were planned by it."""
    schedule = named(name, settings)
    Prefect(settings).call("DELETE", f"/deployments/{schedule.deployment_id}/schedules/{schedule.id}")
    return schedule


def switch(name: str, settings: Settings, *, on: bool) -> Schedule:
    """Pauses it, or lets it go on."""
    schedule = named(name, settings)
    Prefect(settings).call("PATCH", f"/deployments/{schedule.deployment_id}/schedules/{schedule.id}", {"active": on})
    return named(name, settings)
