"""Which engine answers for a version: the one asked for where the parity gate admits it, else torch, and why."""

import importlib.util
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import BanyanError, ParityMismatch, ServingError
from components.refs import ModelRef
from components.serving.engines import TorchEngine
from components.settings import Settings

if TYPE_CHECKING:
    from components.evaluation.parity import Parity, Reference

log = logging.getLogger("banyan.gateway")

NUM_EXACT = 24
"""Probes of the first step, in float32, where a fault of the graph shows without the noise of a coarser precision."""


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
            if wanted == "vllm":
                return _told(*_vllm(ref, model_dir, task=task, settings=settings, admission=admission))
            folder = graph_folder(settings, ref)
            return _told(*_openvino(ref, model_dir, task=task, folder=folder, admission=admission))
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
    from components.evaluation.parity import engines_folder

    for package in ("openvino", "openvino_genai"):
        if importlib.util.find_spec(package) is None:
            raise ServingError(f"{package} is not installed", "pip install 'banyan-llm[fast]'")
    made_by = f"openvino-{version('openvino')}"
    return engines_folder(settings.workspace.root, ref.weights_sha256) / made_by


def _openvino(
    ref: ModelRef, model_dir: Path, *, task: str, folder: Path, admission: Callable[[], bytes]
) -> "tuple[TorchEngine, Parity]":
    from components.evaluation.parity import VERDICT_FILE, read_verdict
    from components.serving.engines_openvino import OpenVinoEngine

    found = read_verdict(folder / VERDICT_FILE)
    if found is None:
        found = _admit(ref, model_dir, task=task, folder=folder, expected=_reference(ref, admission))
    if not found.passed:
        raise ParityMismatch(f"the parity gate blocks it: {found}")
    return OpenVinoEngine(ref, model_dir, task=task, graph_dir=folder), found


def _reference(ref: ModelRef, admission: Callable[[], bytes]) -> "Reference":
    """What every engine of the version must reproduce. Raises ServingError: it was registered without."""
    from components.evaluation.parity import Reference

    try:
        return Reference.model_validate(json.loads(admission())["reference"])
    except (BanyanError, ValueError, KeyError) as err:
        raise ServingError(f"{ref} was registered without a parity reference ({err})", "retrain it") from err


def _vllm(
    ref: ModelRef, model_dir: Path, *, task: str, settings: Settings, admission: Callable[[], bytes]
) -> "tuple[TorchEngine, Parity]":
    """Held against the trainer at every load: what a server holds under a name may be another thing tomorrow."""
    from components.evaluation.parity import check, engines_folder, keep
    from components.evaluation.parity_reference import Trainer
    from components.serving.engines_vllm import VllmEngine
    from components.tasks import get_task

    urls = [url.strip() for url in (settings.vllm_url or "").split(",") if url.strip()]
    if not urls:
        raise ServingError("no address of a server is given", "BANYAN_VLLM_URL=http://HOST:PORT")
    expected = _reference(ref, admission)
    key = settings.vllm_key.get_secret_value() if settings.vllm_key else None
    engine = VllmEngine(ref, model_dir, task=task, urls=urls, key=key, timeout_seconds=settings.vllm_timeout_seconds)
    trainer = Trainer(model_dir, task=get_task(task))
    pad_id = int(trainer.model.config.pad_token_id or 0)
    # What it thinks of given tokens, where it tells; and what it writes by itself, out of its cache.
    found: list[Parity] = []
    for takes_given in (True, False) if engine.takes_given else (False,):
        engine.takes_given = takes_given
        found.append(check(engine, expected, rescore=lambda some: trainer.read(some, pad_id=pad_id)))
        if not found[-1].passed:
            break
    worst = found[-1] if not found[-1].passed else max(found, key=lambda one: one.largest)
    keep(worst, engines_folder(settings.workspace.root, ref.weights_sha256) / engine.name)
    if not worst.passed:
        raise ParityMismatch(f"the parity gate blocks it: {worst}")
    return engine, worst


def _admit(ref: ModelRef, model_dir: Path, *, task: str, folder: Path, expected: "Reference") -> "Parity":
    """Make the graph, hold it against the trainer in two steps, and keep the verdict beside it."""
    from components.evaluation.parity import keep

    export(model_dir, task=task, folder=folder)
    found = held_against(ref, model_dir, task=task, folder=folder, expected=expected)
    keep(found, folder)
    return found


def export(model_dir: Path, *, task: str, folder: Path) -> None:
    """The version's graph in `folder`. Raises ServingError for a family that it cannot be made of."""
    import torch

    from components.models import adapters
    from components.models.pretrained import load_whole
    from components.serving import openvino_export
    from components.serving.decoding import keeps_plain
    from components.tasks import get_task
    from components.tasks.base import Writer

    language_task = get_task(task)
    # Merged in bf16 the graph would differ from the trainer by more than its first step, in float32, lets pass.
    dtype = torch.float32 if adapters.reference(model_dir) else "auto"
    model, tokenizer = load_whole(model_dir, task=language_task, dtype=dtype)
    kind = model.config.model_type
    if language_task.head == "generator" and not (isinstance(language_task, Writer) and keeps_plain(model, tokenizer)):
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
