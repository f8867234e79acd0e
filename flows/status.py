"""What runs, who serves and how much feedback waits: `banyan status`."""

from dataclasses import dataclass, field
from typing import Any

from components.errors import BanyanError
from components.settings import Settings


@dataclass
class Facts:
    """Everything that a glance needs; what could not be asked is in `problems`."""

    is_running: bool
    workspace: str
    services: list[dict[str, Any]] = field(default_factory=list)
    num_leftovers: int = 0
    models: list[dict[str, Any]] = field(default_factory=list)
    data_version: str | None = None
    feedback: dict[str, dict[str, int]] = field(default_factory=dict)
    """Table → fate → rows, and `unconsumed`."""
    problems: list[str] = field(default_factory=list)
    findings: list[dict[str, str]] = field(default_factory=list)
    """What is half broken: part, what, remedy, level (see `flows/health.py`)."""

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def lines(self) -> list[str]:
        """For a person."""
        lines = [f"Workspace {self.workspace}"]
        if self.is_running:
            for service in self.services:
                again = f", restarted {service['restarts']} times" if service["restarts"] else ""
                lines.append(f"  {service['name']:<12} {service['state']:<9} {service['url'] or ''}{again}")
        else:
            lines.append("  The stack is not running. Start it with: banyan up")
        for found in self.findings:
            word = "Wrong" if found["level"] == "missing" else "Note"
            lines.append(f"{word}: {found['part']}: {found['what']}  → {found['remedy']}")
        if self.num_leftovers and not self.findings:
            lines.append(f"  {self.num_leftovers} processes of a killed stack are left. End them with: banyan down")
        for model in self.models:
            wanted = f"v{model['wanted_version']} does not answer yet" if model.get("wanted_version") else "no champion"
            who = f"v{model['version']} serves" if model.get("version") else wanted
            lines.append(f"Model {model.get('model') or 'banyan-' + model['table']}: {who} ({model['state']})")
        lines.append(f"Data {self.data_version or 'none yet; next: banyan demo | banyan ingest FILE --task T'}")
        for table, counts in self.feedback.items():
            fates = ", ".join(f"{count} {fate}" for fate, count in counts.items() if count and fate != "unconsumed")
            lines.append(f"Feedback on {table}: {fates or 'none'}; {counts['unconsumed']} wait for a retraining")
        return lines + [f"Not known: {problem}" for problem in self.problems]


def collect(settings: Settings) -> Facts:
    """Ask every store; one that does not answer is a problem in the list, never an error."""
    from flows import stack
    from flows.health import examine

    now = stack.describe(settings)
    facts = Facts(now.is_running, str(settings.workspace.root), [dict(s) for s in now.services], now.num_leftovers)
    broken = examine(settings)
    facts.findings = [dict(found.__dict__) for found in broken]
    told = {found.part for found in broken if found.level == "missing"}
    for part, ask in (("gateway", _models), ("data", _data), ("ledger", _feedback)):
        if part in told:  # said already, with what to do; asking again would only wait
            continue
        try:
            ask(facts, settings)
        except BanyanError as err:
            facts.problems.append(str(err))
    return facts


def _models(facts: Facts, settings: Settings) -> None:
    from flows import gateway

    if facts.is_running or settings.gateway_url:
        facts.models = gateway.models(settings)


def _data(facts: Facts, settings: Settings) -> None:
    from components.data.versioning import head

    ref = head(settings)
    facts.data_version = ref.version if ref else None


def _feedback(facts: Facts, settings: Settings) -> None:
    from components.ledger.store import Ledger

    if settings.ledger_url is None and not settings.workspace.ledger.exists():
        return  # asking would make an empty one
    with Ledger(settings) as ledger:
        for table in ledger.tables():
            counts = {str(fate): count for fate, count in ledger.current_fates(table).items()}
            facts.feedback[table] = {**counts, "unconsumed": ledger.unconsumed(table)}
