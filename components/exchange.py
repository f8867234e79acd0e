"""A registered version as a plain Hugging Face folder: for vLLM, for llama.cpp's conversion to GGUF, for anybody."""

import shutil
from pathlib import Path

from components.errors import DataStoreError, UsageError
from components.refs import ModelRef
from components.registry import CARD, Registry
from components.settings import Settings
from components.supervisor import addresses


def export(model: ModelRef, *, to: Path, settings: Settings) -> bool:
    """Write the version into the new folder `to`, with its card; whole or not at all. Whether adapters were merged.

    Merged weights are those that a training without `keep_adapters` registers, bit for bit.

    Raises:
        UsageError: `to` is there already.
        RegistryUnavailable, RegistryError: it cannot be fetched, or is not what was registered.
        DataStoreError: it cannot be written.
    """
    from components.models import adapters, pretrained
    from components.tasks import get_task

    if to.exists():
        raise UsageError(f"{to} is there already", "name a new folder")
    registry = Registry(addresses(settings).mlflow)
    info = registry.get(model)
    folder = registry.fetch(model, settings)
    beside = to.with_name(f".{to.name}.part")
    are_adapters = adapters.reference(folder) is not None
    try:
        shutil.rmtree(beside, ignore_errors=True)
        if are_adapters:
            whole, tokenizer = pretrained.load_whole(folder, task=get_task(info.task), dtype="auto")
            whole.save_pretrained(beside)
            tokenizer.save_pretrained(beside)
        else:
            shutil.copytree(folder, beside)
        (beside / CARD).write_text(info.card, "utf-8")
        beside.rename(to)
    except OSError as err:
        raise DataStoreError(f"{to} cannot be written: {err.strerror or err}", "free space, or name another") from err
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return are_adapters
