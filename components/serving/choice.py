"""Which engine answers for a version: the fast one where the parity gate admits it, else torch, and why."""

import importlib.util
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import BanyanError, ParityMismatch, ServingError
from components.refs import ModelRef
from components.serving.engines import TorchEngine
from components.settings import Settings

if TYPE_CHECKING:
    from components.evaluation.parity import Parity, Reference

log = logging.getLogger("banyan.gateway")

NUM_EXACT = 24
"""Probes of the first step, in float32, where a fault of the graph shows without the noise of a coarser precision."""
VERDICT = "parity.json"


def choose(
    ref: ModelRef,
    model_dir: Path,
    *,
    task: str,
    settings: Settings,
    tags: dict[str, str],
    admission: Callable[[], bytes],
    wanted: str | None = None,
) -> TorchEngine:
    """The engine that the settings ask for, ready to answer; torch where that one is not to be had.

    Its `generation`, which stands in receipts and in /v1/models, says its name, its parity and why it is not another.

    Args:
        tags: the version's.
        admission: gives the version's `parity.json`.
        wanted: an engine instead of the settings'.

    Raises:
        ParityMismatch: torch was found to answer otherwise than the version was trained, and nothing else may serve it.
        InputFileError: no model to read.
    """
    from components.evaluation.parity import verdicts

    known = verdicts(tags)
    wanted = wanted or settings.engine
    reason = ""
    if wanted != "torch":
        try:
            folder = graph_folder(settings, ref)
            engine, found = _openvino(ref, model_dir, task=task, folder=folder, admission=admission)
            return _told(engine, found)
        except BanyanError as err:
            reason = err.message
            is_plain = wanted == "auto" and not isinstance(err, ParityMismatch)
            log.log(logging.INFO if is_plain else logging.WARNING, "%s is served by torch: %s", ref, reason)
    torch_parity = known.get("torch")
    if torch_parity is not None and not torch_parity.passed:
        raise ParityMismatch(f"{ref} may not be served: {torch_parity}", "retrain it, or roll back")
    return _told(TorchEngine(ref, model_dir, task=task), torch_parity, reason)


def _told(engine: TorchEngine, parity: "Parity | None", reason: str = "") -> TorchEngine:
    if parity is not None:
        engine.generation["parity"] = {
            "largest_difference": float(f"{parity.largest:.3g}"),
            "mean_difference": float(f"{parity.mean:.3g}"),
            "tolerance": parity.tolerance,
            "num_probes": parity.num_probes,
        }
    engine.instead = reason
    return engine


def graph_folder(settings: Settings, ref: ModelRef) -> Path:
    """Where a version's graph lies; it can be made again at any time.

    Raises:
        ServingError: OpenVINO is not installed.
    """
    for package in ("openvino", "openvino_genai"):
        if importlib.util.find_spec(package) is None:
            raise ServingError(f"{package} is not installed", "pip install 'banyan-llm[fast]'")
    made_by = f"openvino-{version('openvino')}"
    return settings.workspace.root / "engines" / ref.weights_sha256[:16] / made_by


def _openvino(
    ref: ModelRef, model_dir: Path, *, task: str, folder: Path, admission: Callable[[], bytes]
) -> "tuple[TorchEngine, Parity]":
    from components.evaluation.parity import Parity
    from components.serving.engines_openvino import OpenVinoEngine

    verdict = folder / VERDICT
    if not verdict.is_file():
        try:
            content = json.loads(admission())
        except (BanyanError, ValueError) as err:
            raise ServingError(f"{ref} was registered without a parity reference ({err})", "retrain it") from err
        _admit(ref, model_dir, task=task, folder=folder, reference=content["reference"])
    found = Parity.model_validate_json(verdict.read_text("utf-8"))
    if not found.passed:
        raise ParityMismatch(f"the parity gate blocks it: {found}")
    return OpenVinoEngine(ref, model_dir, task=task, graph_dir=folder), found


def _admit(ref: ModelRef, model_dir: Path, *, task: str, folder: Path, reference: dict[str, Any]) -> None:
    """Make the graph, hold it against the trainer in two steps, and keep the verdict beside it."""
    from components.evaluation.parity import Reference

    expected = Reference.model_validate(reference)
    export(model_dir, task=task, folder=folder)
    found = held_against(ref, model_dir, task=task, folder=folder, expected=expected)
    beside = folder / f"{VERDICT}.tmp"
    beside.write_text(found.model_dump_json(), "utf-8")
    beside.replace(folder / VERDICT)


def export(model_dir: Path, *, task: str, folder: Path) -> None:
    """The version's graph in `folder`. Raises ServingError for a family that it cannot be made of."""
    from components.models.pretrained import load_trained
    from components.serving import openvino_export
    from components.serving.decoding import can_stream
    from components.tasks import get_task
    from components.tasks.base import Writer

    language_task = get_task(task)
    model, tokenizer = load_trained(model_dir, task=language_task)
    kind = model.config.model_type
    if language_task.head == "generator" and not (isinstance(language_task, Writer) and can_stream(model, tokenizer)):
        raise ServingError(f"OpenVINO writes with causal models of plain keys and values, which {kind} has not")
    make = openvino_export.export_writer if language_task.head == "generator" else openvino_export.export_encoder
    try:
        make(model, folder)
    except Exception as err:  # blanket: tracing somebody's model can fail in any way, and torch serves it then
        raise ServingError(f"{kind} cannot be made an OpenVINO graph: {type(err).__name__}: {str(err)[:200]}") from err


def held_against(ref: ModelRef, model_dir: Path, *, task: str, folder: Path, expected: "Reference") -> "Parity":
    """The graph's parity: exact settings first, given tokens and its own; then as it will serve."""
    from components.evaluation.parity import check
    from components.evaluation.parity_reference import Trainer
    from components.serving.engines_openvino import OpenVinoEngine
    from components.serving.scoring import Read
    from components.tasks import get_task

    trainer = Trainer(model_dir, task=get_task(task), exact=True)
    few = expected.probes[:NUM_EXACT]
    pad_id = int(trainer.model.config.pad_token_id or 0)
    reads = trainer.read([Read(probe.ids, probe.num_given, ()) for probe in few], pad_id=pad_id)
    exactly = expected.model_copy(
        update={
            "precision": "float32",
            "probes": tuple(p.model_copy(update={"values": r.values}) for p, r in zip(few, reads, strict=True)),
        }
    )
    engine = OpenVinoEngine(ref, model_dir, task=task, graph_dir=folder, exact=True, warm=False)
    steps = [True, False] if engine.decoder else [True]
    for takes_given in steps:
        engine.takes_given = takes_given
        found = check(engine, exactly, rescore=lambda some: trainer.read(some, pad_id=pad_id))
        if not found.passed:
            return found
    del engine
    return check(OpenVinoEngine(ref, model_dir, task=task, graph_dir=folder, warm=False), expected)
