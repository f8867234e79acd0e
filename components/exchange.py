"""A registered version as a plain Hugging Face folder, for vLLM and anybody; or as a GGUF file, for llama.cpp."""

import shutil
from pathlib import Path
from typing import Literal

from components.errors import DataStoreError, UsageError
from components.refs import ModelRef
from components.registry import CARD, Registry
from components.settings import Settings
from components.supervisor import addresses

Format = Literal["folder", "gguf"]


def export(model: ModelRef, *, to: Path, settings: Settings, as_: Format = "folder") -> bool:
    """Write the version into the new folder `to`, with its card, or as the new file `to`; whole or not at all. Whether
    adapters were merged.

    Merged weights are those that a training without `keep_adapters` registers, bit for bit.

    Raises:
        UsageError: `to` is there already, or the model cannot be written as GGUF (`gguf_writing`).
        RegistryUnavailable, RegistryError: it cannot be fetched, or is not what was registered.
        DataStoreError: it cannot be written.
    """
    from components import gguf_writing
    from components.models import adapters, pretrained
    from components.tasks import get_task

    if to.exists():
        raise UsageError(f"{to} is there already", "name a new folder")
    registry = Registry(addresses(settings).mlflow)
    info = registry.get(model)
    folder = registry.fetch(model, settings)
    beside, file = to.with_name(f".{to.name}.part"), to.with_name(f".{to.name}.gguf")
    are_adapters = adapters.reference(folder) is not None
    try:
        shutil.rmtree(beside, ignore_errors=True)
        if are_adapters:
            whole, tokenizer = pretrained.load_whole(folder, task=get_task(info.task), dtype="auto")
            whole.save_pretrained(beside)
            tokenizer.save_pretrained(beside)
        else:
            shutil.copytree(folder, beside)
        if as_ == "gguf":
            gguf_writing.write(beside, file)
            file.rename(to)
        else:
            (beside / CARD).write_text(info.card, "utf-8")
            beside.rename(to)
    except OSError as err:
        raise DataStoreError(f"{to} cannot be written: {err.strerror or err}", "free space, or name another") from err
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        file.unlink(missing_ok=True)
    return are_adapters
