"""What a run is called in Prefect: what it does, what it was given, who asked, and when it was due, in UTC."""

import string
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flows.deployments import TAG

OPTIONAL = {"version": "v{}", "cut": "up to {}", "data": "on data {0.version:.8}"}
"""Parameters that tell runs apart where they are given, and their words."""


def named(text: str) -> Callable[[], str]:
    """A `flow_run_name` for Prefect: `text` over the flow's parameters, and what tells the run apart from others."""

    def name() -> str:
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
        assert context is not None and context.flow_run is not None  # Prefect asks within it
        run = context.flow_run
        kind, by = (run.created_by.type or "", run.created_by.display_value or "") if run.created_by else ("", "")
        # Set once, at the run's first state: taken up again after a crash it keeps its name.
        due = run.expected_start_time or datetime.now(UTC)
        who = asked_by(run.tags, kind=kind, name=by)
        return name_of(text, context.parameters or {}, by=who, due=due)

    return name


def name_of(text: str, parameters: Mapping[str, Any], *, by: str, due: datetime) -> str:
    """For example `retrain library up to 684 · enough feedback · 11-22 03:17`."""
    told = {field.partition(".")[0] for _, field, _, _ in string.Formatter().parse(text) if field}
    given = [words.format(parameters[key]) for key, words in OPTIONAL.items() if told_apart(key, parameters, told)]
    what = " ".join([text.format(**parameters), *given])
    return " · ".join(part for part in (what, by, f"{due.astimezone(UTC):%m-%d %H:%M}") if part)


def told_apart(key: str, parameters: Mapping[str, Any], told: set[str]) -> bool:
    """Whether a parameter was given that the name does not hold yet."""
    return key not in told and parameters.get(key) is not None


def asked_by(tags: Sequence[str], *, kind: str, name: str) -> str:
    """Who or what asked for a run, by its tags and what Prefect keeps of its maker; nothing for a command."""
    of_a_page = [tag.removeprefix("by:") for tag in tags if tag.startswith("by:")]
    if of_a_page:
        return of_a_page[0]
    if kind == "AUTOMATION":
        return name.removeprefix(f"{TAG}: ").removesuffix(" starts a retraining")
    return name if kind == "SCHEDULE" else ""
