"""What must hold once faults are over: each check gives the sentences of what does not."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from components.data import versioning
from components.feedback.curation import rows_for_training
from components.ledger.journal import Journal
from components.ledger.schema import Cut
from components.ledger.store import Ledger
from components.recipes import Finetune, Ingest, Pretrain, load_recipe
from components.registry import Registry, model_name
from components.settings import Settings
from components.supervisor import addresses
from components.tasks import get_task
from components.training import bases
from components.training.finetuning import finetune
from components.training.pretraining import pretrain
from flows.policies import RECIPES

OPEN = ("RUNNING", "PENDING", "CANCELLING")


def lost_rows(settings: Settings, table: str, acknowledged: Sequence[str]) -> list[str]:
    """Feedback that the gateway had taken, and that has no fate or is not there."""
    with Ledger(settings) as ledger:
        known = {row.feedback_id for row in ledger.feedback_upto(table, ledger.cut())}
        return [one for one in acknowledged if one not in known or not ledger.fate_of(one)]


def left_on_their_way(settings: Settings, table: str) -> list[str]:
    """Rows at or below the last consumed cut whose fate is not an end: refused, or measured."""
    with Ledger(settings) as ledger:
        cuts = ledger.cuts(table)
        rows = ledger.feedback_upto(table, cuts[-1].cut) if cuts else []
        return [f"feedback {row.feedback_id} is {row.fate}" for row in rows if row.fate not in ("refused", "measured")]


def broken_stores(settings: Settings, verified: set[str]) -> list[str]:
    """The ledger's file, and the copies in the remote of data versions that are not `verified` yet; then they are."""
    found = []
    with contextlib.closing(sqlite3.connect(f"file:{settings.workspace.ledger}?mode=ro", uri=True)) as ledger:
        found += [f"ledger: {line}" for (line,) in ledger.execute("PRAGMA integrity_check") if line != "ok"]
        found += [f"ledger: {line}" for line in ledger.execute("PRAGMA foreign_key_check")]
    for version in [one.ref.version for one in versioning.versions(settings) if one.ref.version not in verified]:
        lost, damaged = versioning.verify_remote(version, settings=settings)
        if lost or damaged:
            found.append(f"data version {version}: {len(lost)} objects lost, {len(damaged)} damaged")
        else:
            verified.add(version)
    return found


def half_promoted(settings: Settings) -> list[str]:
    """Moves that are neither done nor abandoned, a chain that does not verify, an alias elsewhere than it says."""
    with Ledger(settings) as ledger:
        entries = ledger.journal()
        closed = {entry.move_id for entry in entries if entry.state != "intended"}
        found = [f"a move of {one.name} to v{one.to_version} is open" for one in entries if one.move_id not in closed]
        registry = Registry(addresses(settings).mlflow)
        return found + list(Journal(ledger, settings.workspace).verify(registry).problems)


def open_runs(settings: Settings) -> list[str]:
    """Flow runs that Prefect takes for being at work."""
    wanted = {"state": {"type": {"any_": list(OPEN)}}}
    answer = httpx.post(
        f"{addresses(settings).prefect}/api/flow_runs/filter", json={"flow_runs": wanted}, timeout=30, trust_env=False
    )
    answer.raise_for_status()
    return [f"run {run['name']} is {run['state']['name']}" for run in answer.json()]


def not_served(settings: Settings, table: str) -> list[str]:
    """A gateway that does not answer with the table's champion."""
    champion = Registry(addresses(settings).mlflow).champion(model_name(table))
    asked = httpx.post(
        f"{addresses(settings).gateway}/v1/tasks/{table}",
        json={"input": "early san late lor"},
        timeout=30,
        trust_env=False,
    )
    if not asked.is_success:
        return [f"the gateway answers {asked.status_code}: {asked.text[:200]}"]
    served = asked.json()["receipt"]["version"]
    if champion is None or served != champion.version:
        return [f"the gateway answers with v{served}, and the champion is {champion}"]
    return []


def until_none(check: Callable[[], list[str]], *, seconds: float) -> list[str]:
    """What is still wrong after so long; errors of a server that is being started anew count as wrong."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except Exception as err:  # whatever it is, it is said in the end
            found = [f"{type(err).__name__}: {err}"]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


@dataclass(frozen=True)
class Twin:
    """The same cut, learnt from where nothing was disturbed."""

    settings: Settings
    """A workspace of its own, on which no stack ever ran."""
    recipe: Finetune
    of_letters: Pretrain
    tables: dict[str, set[str]] = field(default_factory=dict)
    """Other tables than the recipe's → the content that they had, one after the other."""

    def letters(self, ingest: Ingest) -> tuple[str, str]:
        """The corpus' hash, and that of the weights of a model of it."""
        made = versioning.ingest(ingest, settings=self.settings)
        table = self.of_letters.table
        self.tables.setdefault(table, set()).add(made.tables[table])
        run_dir = self.settings.workspace.runs / f"undisturbed-{made.tables[table]}"
        trained = pretrain(self.of_letters, data_dir=versioning.path_of(made, self.settings), run_dir=run_dir)
        return made.tables[table], trained.weights_sha256

    def weights(self, ledger: Ledger, cut: int) -> tuple[str, str]:
        """The hash of the recipe's table with the feedback up to `cut`, and of the weights of the model of it."""
        base = versioning.head(self.settings)
        assert base is not None
        table = self.recipe.table
        curated = rows_for_training(
            ledger,
            table,
            cut,
            task=get_task(self.recipe.task),
            data_dir=versioning.path_of(base, self.settings),
            policy=load_recipe(RECIPES / "screening.yaml"),
        )
        data = versioning.admit(curated.rows, table=table, settings=self.settings)
        data_dir = versioning.path_of(data, self.settings)
        run_dir: Path = self.settings.workspace.runs / f"undisturbed-{cut}"
        weights_dir = bases.weights(self.recipe, data_dir=data_dir, settings=self.settings)
        trained = finetune(self.recipe, data_dir=data_dir, weights_dir=weights_dir, run_dir=run_dir)
        return data.tables[table], trained.weights_sha256


def unlike_undisturbed_letters(
    twin: Twin, ingest: Ingest, *, made: Mapping[str, Any], model: Mapping[str, Any]
) -> list[str]:
    """What is not as it is undisturbed of a corpus that was `made` by a recipe, and of a `model` of it (refs)."""
    letters, weights = twin.letters(ingest)
    found = []
    if made["tables"][twin.of_letters.table] != letters:
        found.append(f"data version {made['version']} is not what its recipe gives")
    if model["weights_sha256"] != weights:
        found.append(f"the weights of {model['name']} v{model['version']} are not what its data gives")
    return found


def unlike_undisturbed(settings: Settings, twin: Twin, cuts: Sequence[Cut]) -> Iterator[str]:
    """Cuts whose retraining gave other data or weights than they give undisturbed."""
    registry = Registry(addresses(settings).mlflow)
    with Ledger(settings) as ledger:
        for cut in cuts:
            content, weights = twin.weights(ledger, cut.cut)
            ref = registry.ref(cut.model_name, cut.model_version)
            version = registry.get(ref).data_version
            tables = next(one.ref.tables for one in versioning.versions(settings) if one.ref.version == version)
            known = {**twin.tables, cut.table: {content}}
            if any(held not in known.get(table, ()) for table, held in tables.items()):
                yield f"the data of {ref} is not what its cut {cut.cut} gives"
            if ref.weights_sha256 != weights:
                yield f"the weights of {ref} are not what its cut {cut.cut} gives"
