"""The few shapes that pages are made of, and what is asked of the stores' answers on more than one page."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from components.ecosystem import State
from components.ledger.schema import JournalEntry, VerdictRow
from components.tasks import all_tasks
from dashboard.records import ModelVersion, Reading, Service
from dashboard.text import Words, signed

SHARES = {"accuracy", "top3", "macro_f1", "chance"}
LOWER_IS_BETTER = {"bits_per_byte", "heldout_loss", "mse", "mae"}

Tone = Literal["strong", "plain", "blue", "warn"]


@dataclass(frozen=True)
class Box:
    """Empty, stale or failed: three different things on the screen."""

    kind: Literal["empty", "stale", "failed"]
    title: str
    text: str


@dataclass(frozen=True)
class Tile:
    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Bar:
    """`share` in [0, 1] is drawn; `value` is written. `mark`: a thin line, such as chance."""

    label: str
    share: float
    value: str
    tone: Tone = "strong"
    note: str = ""
    mark: float | None = None


@dataclass(frozen=True)
class Line:
    """Something that happened: when, what, and how it stands."""

    when: str
    text: str
    note: str
    state: State
    state_text: str
    end: str = ""


@dataclass(frozen=True)
class Fact:
    label: str
    value: str
    is_code: bool = False


@dataclass(frozen=True)
class ServiceLine:
    name: str
    state: State
    url: str
    """Of its own pages; empty when it has none for people."""


STATE_OF_SERVICE: Mapping[str, State] = {"ready": "ready", "done": "ready", "failed": "failed", "stopped": "empty"}
WITH_PAGES = {"prefect", "mlflow"}


def service_lines(services: Iterable[Service], words: Words) -> list[ServiceLine]:
    """The long-running processes of the local stack."""
    return [
        ServiceLine(
            words.named("service", service.name),
            STATE_OF_SERVICE.get(service.state, "working"),
            service.url if service.name in WITH_PAGES else "",
        )
        for service in services
        if words.has(f"service.{service.name}")
    ]


def notice(reading: Reading[Any], words: Words, *, now: float | None = None) -> Box | None:
    """What a page says of a reading that is not fresh; None when it is."""
    if reading.problem is None:
        return None
    store = words(f"store.{reading.store}")
    remedy = reading.problem.remedy
    if reading.is_failed:
        hint = words("box.failed.hint", remedy=remedy) if remedy else words("box.failed.plain")
        return Box("failed", words("box.failed", store=store), f"{reading.problem.message}. {hint}")
    ago = words.ago((time.time() if now is None else now) - reading.at)
    hint = words("box.stale.hint", remedy=remedy) if remedy else words("box.stale.plain")
    return Box("stale", words("box.stale", store=store, ago=ago), hint)


def metric_of(model: ModelVersion) -> str:
    """The metric that a version is judged by; empty when it has none."""
    names = {task.name: task.metric_name for task in all_tasks()} | {"corpus": "bits_per_byte"}
    metric = names.get(model.task, "")
    return metric if metric in model.metrics else next(iter(sorted(model.metrics)), "")


def score(words: Words, metric: str, value: float) -> str:
    """As the field writes it: shares in percent, ROUGE and losses as they are."""
    return words.percent(value) if metric in SHARES else f"{value:.3f}"


def difference(words: Words, metric: str, value: float) -> str:
    """Of two scores, signed."""
    return words.points(value) if metric in SHARES else signed(value, decimals=3)


def bare_difference(metric: str, value: float) -> str:
    """The same without its unit."""
    return signed(value * 100) if metric in SHARES else signed(value, decimals=3)


def champion_of(models: Iterable[ModelVersion], name: str) -> ModelVersion | None:
    return next((model for model in models if model.name == name and model.is_champion), None)


def last_verdict(
    verdicts: Iterable[VerdictRow], name: str, version: int | None = None, *, against: str | None = None
) -> VerdictRow | None:
    """The newest verdict on a registered model, or on one version of it."""
    found = None
    for row in verdicts:  # oldest first
        if row.model_name == name and version in (None, row.model_version) and against in (None, row.against):
            found = row
    return found


def taken_back(journal: Iterable[JournalEntry]) -> list[tuple[str, int]]:
    """Registered model and version of those that a roll-back has left and that are not champion again, newest last."""
    left: dict[tuple[str, int], None] = {}
    for entry in sorted(journal, key=lambda entry: entry.sequence):
        if (entry.alias, entry.state) == ("champion", "done"):
            left.pop((entry.name, entry.to_version), None)
            if entry.action == "rollback" and entry.from_version is not None:
                left[entry.name, entry.from_version] = None
    return list(left)


def step_name(words: Words, name: str) -> str:
    """A step or a flow in the reader's language; as its author named it where we have no word."""
    first = "baseline" if "baseline" in name else (re.findall(r"[a-z]+", name.lower()) or [""])[0]
    return words(f"step.{first}") if words.has(f"step.{first}") else words.named("flow", name)


def short(digest: str) -> str:
    """As much of a hash as people compare."""
    return digest[:10]
