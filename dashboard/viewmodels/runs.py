"""The runs page: what is at work, what was done, and where the time went."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from components.ecosystem import State
from dashboard.records import Orchestration, Run, RunDetail, Schedule
from dashboard.text import Words
from dashboard.viewmodels import triggers
from dashboard.viewmodels.shapes import Bar, Line, step_name

STATE_OF_RUN: Mapping[str, State] = {
    "RUNNING": "working",
    "COMPLETED": "ready",
    "FAILED": "failed",
    "CRASHED": "failed",
    "PENDING": "waiting",
    "SCHEDULED": "waiting",
    "PAUSED": "waiting",
    "CANCELLED": "stale",
    "CANCELLING": "stale",
}


ACTIVE = {"RUNNING", "PENDING", "CANCELLING", "SCHEDULED"}
ENDED_BADLY = {"FAILED", "CRASHED", "CANCELLED"}
DUE = re.compile(r" · \d\d-\d\d \d\d:\d\d$")
"""How a run's name ends: when it was due, in UTC. The list says when in the time of who looks."""
COUNTED = re.compile(
    r".+: (?P<done>\d+) of (?P<total>\d+)(, loss (?P<loss>\S+), (?P<speed>\S+) tokens/s, (?P<left>\d+) s left)?"
)
"""What a run writes of how far it is."""
TRAININGS = {"pretrain", "finetune", "preference", "search", "retrain", "verify"}


@dataclass(frozen=True)
class RunsView:
    now: tuple[Line, ...]
    recent: tuple[Line, ...]
    choices: Mapping[str, str]
    """Run id → how it is called in a list, newest first."""
    urls: Mapping[str, str]
    """Run id → its page in Prefect."""
    warning: str
    """Why a retraining would not start, or would wait; empty when nothing is in the way."""
    can_retrain: bool
    schedules: tuple[Line, ...]
    trains_since: tuple[float, ...]
    """When each training that is at work began."""


@dataclass(frozen=True)
class RunView:
    steps: tuple[Bar, ...]
    progress: tuple[float, str] | None
    log: str


def runs_view(found: Orchestration, words: Words, *, now: float) -> RunsView:
    """The page; a schedule's future runs are not shown."""
    known = [run for run in found.runs if run.state != "SCHEDULED" or run.created_at <= now]
    active = [run for run in known if run.state in ACTIVE]
    training = [run.started_at or now for run in active if run.state == "RUNNING" and run.flow in TRAININGS]
    can = "retrain/cpu" in found.deployments
    warning = "" if can else words("runs.deployments.none")
    if can and not found.num_workers:
        warning = words("runs.worker.none")
    return RunsView(
        now=tuple(_line(run, found, words, now) for run in active),
        recent=tuple(_line(run, found, words, now) for run in known if run not in active)[:15],
        choices={run.id: choice(run, words) for run in known},
        urls={run.id: run.url for run in known},
        warning=warning,
        can_retrain=can,
        schedules=tuple(schedule_line(one, words, now) for one in found.schedules),
        trains_since=tuple(training),
    )


def schedule_line(schedule: Schedule, words: Words, now: float) -> Line:
    """When, by the clock of its own zone."""
    zone = ZoneInfo(schedule.timezone)
    times = [f"{datetime.fromtimestamp(at, zone):%m-%d %H:%M}" for at in schedule.next_at]
    then = words("runs.schedule.next", times=", ".join(times)) if times else words("runs.schedule.soon")
    flow = words.named("flow", schedule.flow)
    return Line(
        when=words.ahead(schedule.next_at[0] - now) if times and schedule.is_active else "",
        text=f"{flow}: {schedule.of}" if schedule.of else flow,
        note=" · ".join([schedule.name, f"{schedule.cron} ({schedule.timezone})", *([then] * schedule.is_active)]),
        state="ready" if schedule.is_active else "stale",
        state_text=words("runs.schedule.on" if schedule.is_active else "runs.schedule.paused"),
    )


def title(run: Run, words: Words) -> str:
    name = words.named("flow", run.flow)
    return f"{name}: {run.table}" if run.table else name


def choice(run: Run, words: Words) -> str:
    """How a run is called in a list: what it is, what tells it apart, who asked, and when, each said once."""
    what, *by = DUE.sub("", run.name).split(" · ")
    if DUE.search(run.name):  # `flow table up to 12 · who asked · month-day hour:minute`, else Prefect's own
        what = what.removeprefix(run.flow).strip().removeprefix(run.table).strip()
        what = re.sub(r"up to (\d+)", lambda found: words("runs.given.cut", value=found[1]), what)
        what = re.sub(r"on data (\w+)", lambda found: words("runs.given.data", value=found[1]), what)
    asked = [
        words(f"runs.by.{one}") if words.has(f"runs.by.{one}") else words.named("runs.bell", one.replace(" ", "_"))
        for one in by
    ]
    return " · ".join(part for part in (title(run, words), what, *asked, words.moment(run.created_at)) if part)


def reason(message: str) -> str:
    """What went wrong, without Prefect's preamble and not cut within a word; the log has the rest."""
    line = message.removeprefix("Flow run encountered an exception: ").split("\n")[0]
    return line if len(line) <= 240 else f"{line[:240].rpartition(' ')[0] or line[:240]} …"


def progress(text: str, words: Words) -> str:
    """How far it is, in the page's language; what has another form stays as the run wrote it."""
    found = COUNTED.fullmatch(text)
    if not found:
        return text
    said = words("runs.progress", done=found["done"], total=found["total"])
    if not found["loss"]:
        return said
    left = words("runs.progress.left", time=words.duration(float(found["left"])))
    return f"{said} · {words('runs.progress.loss', loss=found['loss'], speed=found['speed'])} · {left}"


def run_view(detail: RunDetail, words: Words) -> RunView:
    """Inside one run: its steps as bars of time."""
    longest = max((step.seconds for step in detail.steps), default=0.0) or 1.0
    tones = {"FAILED": "warn", "CRASHED": "warn", "RUNNING": "blue"}
    steps = tuple(
        Bar(
            step_name(words, step.name),
            step.seconds / longest,
            words.duration(step.seconds),
            tones.get(step.state, "strong"),  # type: ignore[arg-type]
            "" if step.state in {"COMPLETED", "CACHED"} else words.named("runs.state", step.state),
        )
        for step in detail.steps
    )
    log = "\n".join(f"{words.clock(at)}  {line}" for at, _, line in detail.log)
    bar = detail.progress if detail.progress and detail.progress[0] < 100 else None  # the steps tell what is over
    return RunView(steps, bar and (bar[0], progress(bar[1], words)), log)


def _line(run: Run, found: Orchestration, words: Words, now: float) -> Line:
    state = STATE_OF_RUN.get(run.state, "waiting")
    step = found.running_steps.get(run.id, "")
    why = words("line.step", step=step_name(words, step)) if step else ""
    state_text = words("runs.waits") if run.state == "SCHEDULED" else words.named("runs.state", run.state)
    if state == "failed":
        why = reason(run.message)
    elif run.flow == "retrain" and run.state == "COMPLETED":  # why it began, or why it did not
        why = triggers.told(run.message, run.table, words)
        if words.has(f"runs.outcome.{run.state_name}"):
            state, state_text = "empty", words(f"runs.outcome.{run.state_name}")
    is_waiting = run.state in {"SCHEDULED", "PENDING"}
    if is_waiting and (run.pool or "cpu") in found.unserved:
        why = words("runs.pool.none.cpu" if run.pool in ("", "cpu") else "runs.pool.none", pool=run.pool)
    by = words(f"runs.by.{run.by}") if words.has(f"runs.by.{run.by}") else ""
    return Line(
        when=words.ago(max(0.0, now - run.created_at)),
        text=title(run, words),
        note=" · ".join(part for part in (why, by) if part),
        state=state,
        state_text=state_text,
        end=words.duration(run.seconds) if run.seconds else "",
    )
