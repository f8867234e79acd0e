"""Adapters kept as such: small files that name the base they lie on, whose tensors all versions on it share in memory.

One module tree a version, over the same storage: no adapter is switched, so nothing is shared that a request could find
in another's state, and what transformers, the tasks and the engines know of a model holds for each of them.
"""

import contextlib
import copy
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from components.errors import InputFileError
from components.training.lock import BASE_FILE, weights_sha256

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

ADAPTERS = "adapter_model.safetensors"
Open = Callable[..., "PreTrainedModel"]
"""Reads the base in a folder; takes `config` and `dtype`."""


@dataclass(frozen=True)
class Base:
    """What adapters lie on; no path, so that it holds on every machine."""

    base: str
    """As a recipe names it: an asset, or `banyan-gpt@2`."""
    weights_sha256: str
    """Of the base's tensors, as the lock's `parent`."""
    dtype: str
    """That it was trained in beside the adapters, and answers in: `bfloat16`."""

    @property
    def version(self) -> tuple[str, int]:
        """Name and number of the registered version that it is; of an asset, number 0."""
        name, _, number = self.base.partition("@")
        return name, int(number or 0)


def reference(folder: Path) -> Base | None:
    """What the adapters in `folder` lie on; None where it holds whole weights.

    Raises:
        InputFileError: the reference cannot be read.
    """
    file = folder / BASE_FILE
    if not file.is_file():
        return None
    try:
        return Base(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as err:
        raise InputFileError(f"{file} does not say what its adapters lie on: {err}", "fetch it again") from err


def save(folder: Path, model: Any, *, base: str, base_sha256: str) -> None:
    """Adapters, what of the head is new, configuration and the reference to the base, in the new folder `folder`.

    Not by `PeftModel.save_pretrained`: it writes the base's path on this disk, and asks the Hub for its vocabulary.

    Args:
        model: the trained `peft.PeftModel`, on the CPU.
        base: as `Base.base`.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    inner = model.get_base_model()
    folder.mkdir(parents=True)
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: p.detach().contiguous() for name, p in tensors.items()}, folder / ADAPTERS)
    described = copy.copy(model.peft_config["default"])
    described.base_model_name_or_path, described.inference_mode = base, True
    described.target_modules = sorted(described.target_modules)
    described.save_pretrained(str(folder))
    dtype = str(inner.get_input_embeddings().weight.dtype).removeprefix("torch.")
    inner.config.architectures, inner.config.dtype = [type(inner).__name__], dtype
    inner.config.save_pretrained(folder)
    if inner.can_generate():
        inner.generation_config.save_pretrained(folder)
    content = asdict(Base(base=base, weights_sha256=base_sha256, dtype=dtype))
    (folder / BASE_FILE).write_text(json.dumps(content, indent=1), "utf-8")


# ---------------------------------------------------------------- where the base lies


def place(folder: Path, base_dir: Path) -> None:
    """Note beside `folder`, for this machine alone, where its base lies: in it no path may stand.

    Written as it is seen from the folder and from the root, so that a workspace may move with its assets or without.
    """
    pointer = _pointer(folder)
    places = [os.path.relpath(base_dir, folder.parent), str(base_dir.absolute())]
    beside = pointer.with_name(f".{pointer.name}.{os.getpid()}.{threading.get_ident()}")
    beside.write_text(json.dumps(places), "utf-8")
    beside.replace(pointer)


def placed(folder: Path) -> Path | None:
    """Where the base of `folder` lies on this machine, as far as that is noted and still so."""
    try:
        places: list[str] = json.loads(_pointer(folder).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return next((here for one in places if (here := folder.parent / one).is_dir()), None)


def _pointer(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.base.json")


def _base_dir(folder: Path, base: Base, given: Path | None) -> Path:
    here = given or placed(folder)
    if here is None:
        raise InputFileError(
            f"the adapters in {folder} lie on {base.base} (weights {base.weights_sha256[:16]}…), which is not here",
            "fetch the version from the registry, which brings its base; or train it again",
        )
    found = weights_sha256(here)
    if found != base.weights_sha256:
        raise InputFileError(
            f"the adapters in {folder} lie on {base.base} with weights {base.weights_sha256[:16]}…, and those in "
            f"{here} are {found[:16]}…",
            f"remove {here}: it is fetched anew when the version is next fetched or trained",
        )
    return here


# ---------------------------------------------------------------- loading


class _Shared:
    """A base as it was read. Its module tree answers nobody: versions are copies of it over the same storage."""

    def __init__(self, model: "PreTrainedModel") -> None:
        self.model = model


_BASES: "WeakValueDictionary[tuple[str, str, str, int | None], _Shared]" = WeakValueDictionary()
"""(weights, precision, architecture, labels) → the base, for as long as a version on it lives."""
_HELD: "WeakKeyDictionary[torch.nn.Module, _Shared]" = WeakKeyDictionary()
"""Version → its base: not an attribute of it, which a deep copy of the version would copy."""
_LOADING = threading.RLock()  # of one thread again, where a base is a version on another base


def load(folder: Path, *, open_base: Open, base_dir: Path | None = None) -> "PreTrainedModel":
    """The base with the adapters of `folder` in it. All that are loaded in this process on the same base share its
    tensors, which go with the last of them. Nobody may write into them: what needs other weights takes `whole`.

    Raises:
        InputFileError: no base, another base, or no adapters that can be read.
    """
    base, config = _read(folder)
    shared = _shared(folder, base, config, open_base, base_dir)
    config._attn_implementation = shared.model.config._attn_implementation
    model: PreTrainedModel = _adapted(_over_same_storage(shared.model, config), folder).get_base_model()
    _HELD[model] = shared
    return model.eval()


def whole(
    folder: Path, *, open_base: Open, base_dir: Path | None = None, dtype: Any = "auto", **options: Any
) -> "PreTrainedModel":
    """The adapters of `folder` merged into weights of its own: what a training without `keep_adapters` leaves, bit for
    bit. In `torch.float32` they are merged in it.

    Raises: as `load`.
    """
    import torch

    base, config = _read(folder)
    of_config = {name: options.pop(name) for name in config.to_dict().keys() & options.keys()}
    config.update(of_config)
    model = open_base(_base_dir(folder, base, base_dir), config=config, dtype=getattr(torch, base.dtype), **options)
    if dtype == torch.float32:
        model = model.float()
    merged: PreTrainedModel = _adapted(model, folder).merge_and_unload()
    return merged if dtype == "auto" else merged.to(dtype)


def _read(folder: Path) -> "tuple[Base, PretrainedConfig]":
    import transformers

    base = reference(folder)
    if base is None:
        raise InputFileError(f"{folder} holds no adapters: {BASE_FILE} is not there", "read it as whole weights")
    try:
        return base, transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as err:
        raise InputFileError(f"{folder} holds no configuration to read: {err}", "fetch it again") from err


def _shared(folder: Path, base: Base, config: "PretrainedConfig", open_base: Open, base_dir: Path | None) -> _Shared:
    import torch

    key = (base.weights_sha256, base.dtype, (config.architectures or [""])[0], config.num_labels)
    with _LOADING:
        if (known := _BASES.get(key)) is not None:
            return known
        with torch.random.fork_rng(devices=[]):  # a head that the base has not is drawn, and then read
            model = open_base(_base_dir(folder, base, base_dir), config=config, dtype=getattr(torch, base.dtype))
        for other in [one for known_as, one in _BASES.items() if known_as[:2] == key[:2]]:
            _take_storage(model, other.model)
        shared = _BASES[key] = _Shared(model.eval().requires_grad_(False))
        return shared


def _take_storage(model: "PreTrainedModel", other: "PreTrainedModel") -> None:
    """Under another head the same body: tensors of `other` in the place of those of `model` that are equal."""
    import torch

    known = {_name(name, other): tensor for name, tensor in other.state_dict(keep_vars=True).items()}
    for name, tensor in model.state_dict(keep_vars=True).items():
        same = known.get(_name(name, model))
        if same is not None and same.dtype == tensor.dtype and torch.equal(same, tensor):
            tensor.data = same.data


def _name(name: str, model: "PreTrainedModel") -> str:
    return name.removeprefix(f"{model.base_model_prefix}.")


def _over_same_storage(model: "PreTrainedModel", config: "PretrainedConfig") -> "PreTrainedModel":
    """A module tree of its own over the tensors of `model`. Each is a new object: `float()` or `to()` of one tree then
    puts other tensors in its own place alone."""
    import torch

    memo: dict[int, Any] = {id(model.config): config}
    for p in model.parameters():
        memo[id(p)] = torch.nn.Parameter(p.data, requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach()
    return copy.deepcopy(model, memo)


def _adapted(model: "PreTrainedModel", folder: Path) -> Any:
    """`model`, changed: the adapters and heads of `folder` in it, as a `peft.PeftModel`."""
    import peft
    import transformers
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    dtype = model.dtype
    try:
        adapted = peft.PeftModel.from_pretrained(model, str(folder), torch_device="cpu", low_cpu_mem_usage=True)
        with contextlib.suppress(OSError):  # what does not write has none
            model.generation_config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
        tensors = load_file(folder / ADAPTERS)
        for name, p in adapted.named_parameters():
            if "lora_" in name:  # peft 0.21 reads fp32 adapters of a bf16 base through bf16
                p.data = tensors[name.replace(".default.", ".")].clone()
            elif p.dtype != dtype:  # a head was trained in fp32, and answers as the base does
                p.data = p.data.to(dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as err:
        raise InputFileError(f"{folder} holds no adapters to read: {err}", "fetch or train the version again") from err
    return adapted
