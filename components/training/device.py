"""Which device a training uses, and the switches that make it exact there."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from components.errors import RecipeError

if TYPE_CHECKING:
    import torch


def resolve(name: Literal["auto", "cpu", "cuda"]) -> "torch.device":
    """The device of a recipe.

    Raises:
        RecipeError: `cuda` on a machine without a CUDA device.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise RecipeError("device: cuda, but torch sees no CUDA device here", "use device: auto, or a gpu worker")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def attention(device: "torch.device") -> Literal["eager", "sdpa"]:
    """Transformers' attention to train by. On CPU the fused one's backward pass is slow at the lengths trained here:
    a SmolLM2 step of 4 × 73 tokens took 0.90 s with it and 0.70 s without, a GPT step of 8 × 256 0.40 and 0.35 s.
    """
    return "eager" if device.type == "cpu" else "sdpa"


@contextlib.contextmanager
def exact() -> "Iterator[None]":
    """Deterministic kernels, and a random state of one's own; both as they were afterwards.

    Deterministic algorithms cost nothing visible on CPU; filling every new tensor with NaN, which torch adds to them to
    show who reads before writing, does. cuBLAS wants its workspace fixed before CUDA starts.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        deterministic.fill_uninitialized_memory = filled
