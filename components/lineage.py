"""From an answer back to the data its model was trained on, and the same answer once more.

Read from the stores: the ledger, the manifests, and MLflow, over HTTP while its server runs and else from the
workspace's own database. What cannot be followed is named; the rest is told all the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.errors import BanyanError, RegistryError, ServiceDown, UsageError
from components.ledger.schema import Answer
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.settings import Settings
from components.supervisor import addresses

if TYPE_CHECKING:
    from components.data.manifests import Manifest
    from components.registry import VersionInfo


@dataclass(frozen=True)
class Lineage:
    """One answer's way. What could not be followed is None, and `missing` says why."""

    answer: Answer
    model: "VersionInfo | None"
    lock: Mapping[str, Any] | None
    data: "Manifest | None"
    missing: tuple[str, ...]

    @property
    def tables(self) -> dict[str, str]:
        """The tables that the training read, with their hashes: as the lock has them, else as the data version does."""
        if self.lock is not None:
            return {str(name): str(digest) for name, digest in self.lock.get("tables", {}).items()}
        return dict(self.data.ref.tables) if self.data else {}

    def as_dict(self) -> dict[str, Any]:
        """For a machine."""
        answer, model, data = self.answer, self.model, self.data
        return {
            "request_id": answer.request_id,
            "at": answer.at,
            "table": answer.table,
            "output": answer.output,
            "finish_reason": answer.finish_reason,
            "model": {
                "name": answer.model_name,
                "version": answer.model_version,
                "weights_sha256": answer.weights_sha256,
                "template_sha256": answer.template_sha256,
                "generation": dict(answer.generation),
                "run_id": model.ref.run_id if model else None,
                "task": model.task if model else None,
                "metrics": dict(model.metrics) if model else None,
            },
            "lock": dict(self.lock) if self.lock is not None else None,
            "data": None
            if data is None
            else {
                "version": data.ref.version,
                "created_at": data.created_at.isoformat(),
                "parent": data.parent,
                "recipe": data.recipe,
                "tables": self.tables,
                "sources": {name: _sources(data, name) for name in self.tables},
            },
            "missing": list(self.missing),
        }


def trace(request_id: str, *, settings: Settings, ledger: Ledger) -> Lineage:
    """The answer with this request id, and what it came from.

    Raises:
        UsageError: no answer has this id.
        LedgerError: the ledger does not answer.
    """
    answer = ledger.answer(request_id)
    if answer is None:
        raise UsageError(f"there is no answer with request id {request_id!r}", "the id stands in the answer's receipt")
    missing: list[str] = []
    model, lock, data = None, None, None
    try:
        model = _version(answer, settings)
        lock = _lock(model.ref, settings)
    except BanyanError as err:
        missing.append(err.message)
    if model is not None and model.data_version:
        from components.data.manifests import manifest

        try:
            data = manifest(model.data_version, settings=settings)
        except BanyanError as err:
            missing.append(err.message)
    return Lineage(answer, model, lock, data, tuple(missing))


def _version(answer: Answer, settings: Settings) -> "VersionInfo":
    from components.registry import Registry

    registry = Registry(registry_url(settings))
    info = registry.get(registry.ref(answer.model_name, answer.model_version))
    if info.ref.weights_sha256 != answer.weights_sha256:
        raise RegistryError(
            f"{info.ref} is registered with weights {info.ref.weights_sha256[:12]}…, but answered with "
            f"{answer.weights_sha256[:12]}…",
            "the registry is another than the one this answer came from",
        )
    return info


def _lock(ref: ModelRef, settings: Settings) -> dict[str, Any]:
    from components.registry import LOCK, Registry

    url = registry_url(settings)
    if url.startswith("http"):
        return Registry(url).lock(ref)
    # Artifacts are served by MLflow's server; where that is down they still lie in its folder.
    found = sorted(settings.workspace.mlflow.glob(f"artifacts/*/{ref.run_id}/artifacts/{LOCK}"))
    if not found:
        raise RegistryError(f"the lock of {ref} is not among the artifacts in {settings.workspace.mlflow}")
    content: dict[str, Any] = json.loads(found[0].read_text("utf-8"))
    return content


def registry_url(settings: Settings) -> str:
    """Where MLflow is: its server, or the workspace's own database while the stack is down.

    Raises:
        ServiceDown: neither is there.
    """
    try:
        return addresses(settings).mlflow
    except ServiceDown:
        database = settings.workspace.mlflow / "mlflow.db"
        if not database.is_file():
            raise
        return f"sqlite:///{database}"


def _sources(data: "Manifest", table: str) -> dict[str, int]:
    """Source → rows of the training split."""
    split = data.rows.get(table, {}).get("train")
    return dict(split.sources) if split else {}


# ---------------------------------------------------------------- once more


@dataclass(frozen=True)
class Replay:
    """The same prompt, answered again by the same version, alone. `before` and `after` are word for word."""

    verdict: Literal["identical", "different"]
    before: str
    after: str
    differences: tuple[str, ...] = field(default=())
    """What else is not as it was: of the template and of the generation parameters."""


def replay(answer: Answer, *, settings: Settings, ledger: Ledger) -> Replay:
    """Answer again, alone, as the receipt says. A text that was cut short is compared as far as it went.

    Alone and in a batch the sums are rounded in another order: a token may change, and with it what follows.

    Raises:
        UsageError: the prompt is no longer kept.
        RegistryError: the weights are no longer there, or are others.
    """
    from components.evaluation.admission import PARITY_FILE
    from components.registry import Registry
    from components.serving.choice import choose

    kept = ledger.raw_exchange(answer.request_id)
    if kept is None:
        raise UsageError(
            f"the prompt of {answer.request_id} is no longer kept word for word",
            f"it is for {settings.prompt_retention_days} days (BANYAN_PROMPT_RETENTION_DAYS)",
        )
    text, before = kept
    registry = Registry(registry_url(settings))
    info = _version(answer, settings)
    engine = choose(
        info.ref,
        _folder(registry, info.ref, settings),
        task=info.task,
        settings=settings,
        tags=dict(info.tags),
        admission=lambda: registry.artifact(info.ref, PARITY_FILE),
        wanted=str(answer.generation.get("engine", "torch")),
    )
    after, used = _again(engine, text, answer)
    differences = [
        f"{name} was {answer.generation.get(name)!r} and is {used.get(name)!r}"
        for name in sorted({*answer.generation, *used})
        if answer.generation.get(name) != used.get(name)
    ]
    if engine.template_sha256 != answer.template_sha256:
        differences.append("the task's template is another")
    is_same = after.startswith(before) if answer.finish_reason == "cancelled" else after == before
    return Replay("identical" if is_same else "different", before, after, tuple(differences))


def _again(engine: Any, text: str, answer: Answer) -> tuple[str, dict[str, Any]]:
    """What the engine says now, and by which parameters."""
    from components.serving.batching import Batcher
    from components.serving.decoding import Sampling
    from components.serving.gateway import receipt_of

    if answer.finish_reason is None:
        return engine.answer([text])[0].output, dict(engine.generation)
    how = answer.generation
    sampling = Sampling(
        max_tokens=int(how["max_new_tokens"]),
        temperature=float(how.get("temperature", 0.0)) if how.get("do_sample") else 0.0,
        top_p=float(how.get("top_p", 1.0)) if how.get("do_sample") else 1.0,
        seed=int(how.get("seed", 0)),
        stop=tuple(how.get("stop", ())),
    )
    batcher = Batcher(engine)
    try:
        written = batcher.write(text, sampling, lambda _: None).done.result()
    finally:
        batcher.close()
    return written.text, dict(receipt_of(engine, sampling).generation)


def _folder(registry: Any, ref: ModelRef, settings: Settings) -> Path:
    """The version's files; those that were fetched for serving need no registry."""
    folder = settings.workspace.models / ref.name / str(ref.version) / ref.weights_sha256[:16]
    return folder if folder.is_dir() else registry.fetch(ref, settings)
