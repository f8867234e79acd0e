"""What a command's run has made, read from the stores: never from the run's own word."""

import getpass
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from components.errors import DataStoreError, UsageError, VersionNotFound
from components.refs import ModelRef
from components.settings import Settings
from flows.console import read_time

if TYPE_CHECKING:
    from components.ledger.schema import VerdictRow
    from components.registry import VersionInfo

SHOWN = ("entity_f1", "exact_match", "answerability", "top3", "chance", "heldout_loss", "bits_per_byte", "num_examples")
"""Metrics on the screen after what the gate compares, each beside the baseline's; the page in MLflow has all."""

Outcome = tuple[dict[str, Any], list[str]]
"""For a machine, and as lines for a person."""


def data_outcome(settings: Settings, *, table: str | None) -> Outcome:
    """The current data version, and what is in `table`; None: in all of its tables.

    Raises:
        DataStoreError: there is none.
    """
    from components.data import versioning
    from flows.cli_data import added_lines

    ref = versioning.head(settings)
    if ref is None:
        raise DataStoreError("there is no data version yet", "first: banyan ingest FILE --task T")
    about = versioning.manifest(ref.version, settings=settings)
    if table is None:
        sizes = {name: sum(split.total for split in splits.values()) for name, splits in about.rows.items()}
        return {"data_version": ref.version, "table": None, "rows": sizes, "docs": about.docs}, [
            f"Data version {ref.version}: " + ", ".join(f"{name} with {n} rows" for name, n in sizes.items()),
            f"  it lies in {versioning.path_of(ref, settings)}",
            f"  its validation report: {about.docs}",
        ]
    rows = {split: summary.total for split, summary in about.rows.get(table, {}).items()}
    rejects = about.rejects.get(table, {})
    added = added_lines(about, table, settings=settings)
    facts = {"data_version": ref.version, "table": table, "rows": rows, "rejects": rejects, "docs": about.docs,
             "added": added}  # fmt: skip
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(rejects.items())) or "none"
    lines = [
        f"Data version {ref.version}: table {table} with " + ", ".join(f"{n} {s}" for s, n in rows.items()) + " rows",
        *(f"  {line}" for line in added),
        f"  rows refused, and kept with their reason: {refused}",
        f"  it lies in {versioning.path_of(ref, settings)}",
        f"  its validation report: {about.docs}",
    ]
    return facts, lines


def model_outcome(settings: Settings, *, table: str, version: int | None = None) -> Outcome:
    """One version of the table's model, by default the newest: its figures, and what the gate said of it.

    Raises:
        VersionNotFound: the table has no such version.
        ServiceDown: the stack does not run.
    """
    from components.ledger.store import Ledger
    from components.registry import Registry, model_name
    from components.supervisor import addresses

    name = model_name(table)
    found = Registry(addresses(settings).mlflow).versions(name)
    info = next((info for info in found if version in (None, info.ref.version)), None)
    if info is None:
        there = ", ".join(f"v{info.ref.version}" for info in found) or "none"
        raise VersionNotFound(f"{name} has no version {version or ''}".rstrip(), f"versions: {there}")
    with Ledger(settings) as ledger:
        said = [row for row in ledger.verdicts(name) if row.model_version == info.ref.version]
    return _facts(info, said), _lines(info, said, url=addresses(settings).mlflow)


def _facts(info: "VersionInfo", said: "list[VerdictRow]") -> dict[str, Any]:
    from components.evaluation.parity import verdicts

    return {
        "parity": {name: one.model_dump() for name, one in verdicts(info.tags).items()},
        "model": info.ref.name,
        "version": info.ref.version,
        "weights_sha256": info.ref.weights_sha256,
        "data_version": info.data_version,
        "aliases": list(info.aliases),
        "metrics": dict(info.metrics),
        "verdicts": [
            {
                "against": row.against,
                "against_version": row.against_version,
                "verdict": row.verdict,
                "difference": row.difference,
                "interval": [row.low, row.high],
                "num_more_needed": row.num_more_needed,
            }
            for row in said
        ],
    }


def _lines(info: "VersionInfo", said: "list[VerdictRow]", *, url: str) -> list[str]:
    about = f"{info.ref}, weights {info.ref.weights_sha256[:12]}, data {info.data_version[:12]}"
    from components.evaluation.parity import verdicts

    lines = [about, f"  {figures(info.metrics)}"]
    lines += [f"  parity: {one}" for one in verdicts(info.tags).values()]
    for row in said[-2:]:
        more = f"; about {row.num_more_needed} more examples would decide" if row.num_more_needed else ""
        other = "the baseline" if row.against == "baseline" else f"champion v{row.against_version}"
        lines.append(
            f"  gate against {other}: {row.verdict} "
            f"({row.metric} {row.difference:+.3f}, interval {row.low:+.3f} to {row.high:+.3f}{more})"
        )
    if info.aliases:
        lines.append(f"  it is the {' and '.join(info.aliases)}")
    lines.append(f"  {url}/#/models/{info.ref.name}/versions/{info.ref.version}")
    return lines


def figures(metrics: Mapping[str, float]) -> str:
    """The metrics of a version that a glance needs."""
    from components.tasks import all_tasks

    parts = []
    for name in dict.fromkeys([*(task.metric_name for task in all_tasks()), *SHOWN]):
        if name in metrics:
            beside = metrics.get(f"baseline_{name}")
            other = f" (baseline {beside:.3f})" if beside is not None and name not in ("chance", "num_examples") else ""
            parts.append(f"{name.replace('_', ' ')} {metrics[name]:.{0 if name == 'num_examples' else 3}f}{other}")
    return ", ".join(parts)


def roll_back(settings: Settings, *, table: str, to: str, reason: str) -> ModelRef:
    """The version that serves now.

    Args:
        to: a version, or an ISO time, the local one unless it names a zone; empty: the champion before.

    Raises:
        UsageError: `to` is neither, there is none to go back to, or it never was champion, or nobody was then.

    The gateway is asked first: it holds the registry and the ledger open already, and swaps at once. Where none answers
    it is done here, and the gateway follows when it is there again.
    """
    import contextlib

    from components.errors import GatewayUnavailable, ServiceDown
    from flows.gateway import roll_back as ask_gateway

    version, at = _wanted(to)
    asked = {"to": version, "at": at.isoformat() if at else None, "reason": reason, "actor": f"cli:{getpass.getuser()}"}
    with contextlib.suppress(GatewayUnavailable, ServiceDown):
        return ModelRef.model_validate(ask_gateway(table, asked, settings=settings))
    from components.ledger.journal import Journal
    from components.ledger.store import Ledger
    from components.registry import Registry, model_name
    from components.supervisor import addresses

    registry = Registry(addresses(settings).mlflow)
    with Ledger(settings) as ledger:
        journal = Journal(ledger, settings.workspace)
        who, when = f"cli:{getpass.getuser()}", at.timestamp() if at else None
        return journal.rollback(registry, model_name(table), actor=who, reason=reason, to=version, at=when)


def _wanted(to: str) -> tuple[int | None, datetime | None]:
    """A version, or a time. Raises UsageError."""
    if not to:
        return None, None
    if (number := to.removeprefix("v")).isdecimal():
        return int(number), None
    try:
        return None, read_time(to)
    except UsageError as err:
        raise UsageError(f"--to {to!r} is neither a version nor a time", "for example: 3, or 2026-11-22T14:30") from err
