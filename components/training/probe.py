"""A few steps of a training, watched: what the model is, what a step computes, keeps and takes."""

import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from components.training.flops import Sizes, sizes_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from components.training.result import Evaluation, Progress

NUM_PROBED_STEPS = 6
UNDISTURBED, AFTER_A_CHECKPOINT = (2, 4, 6), (3, 5)
"""Steps of the probe, which saves after every second one; the first one counts operations, which slows it."""


class Probe:
    """Watches a short training: the first step for its operations and memory, the others for their time."""

    def __init__(self) -> None:
        self.run_dir = Path()
        self.flops_of_step = 0.0
        self.activation_bytes = 0
        self.optimizer_bytes = 0
        self.evaluation_seconds = 0.0
        self.setup_seconds = 0.0
        self._model: PreTrainedModel | None = None
        self._gaps: dict[int, float] = {}
        self._tokens: dict[int, int] = {}
        self._weights: set[int] = set()
        self._watching = ExitStack()
        self._live: dict[int, int] = {}
        self._is_backward = False

    def __enter__(self) -> "Probe":
        from torch.autograd.graph import saved_tensors_hooks
        from torch.nn.modules.module import register_module_forward_pre_hook
        from torch.utils.flop_counter import FlopCounterMode

        self._started = self._last = time.perf_counter()
        self._hook = register_module_forward_pre_hook(self._meet)
        self._watching.enter_context(saved_tensors_hooks(self._pack, self._unpack))
        self._counter = self._watching.enter_context(FlopCounterMode(display=False))
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.close()
        self._hook.remove()

    def _meet(self, module: "torch.nn.Module", _: object) -> None:
        if self._model is None:  # the first to be called is the whole model
            self._model = module  # type: ignore[assignment]
            self._weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
            self.setup_seconds = time.perf_counter() - self._started
            self._hook.remove()

    def _pack(self, tensor: "torch.Tensor") -> "torch.Tensor":
        if self._is_backward:  # the next micro-batch's forward pass
            self._is_backward = False
            self._live.clear()
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._live[storage.data_ptr()] = storage.nbytes()
        self.activation_bytes = max(self.activation_bytes, sum(self._live.values()))
        return tensor

    def _unpack(self, tensor: "torch.Tensor") -> "torch.Tensor":
        self._is_backward = True
        return tensor

    def on_step(self, progress: "Progress") -> None:
        if progress.step == 1:
            self._watching.close()
            self.flops_of_step = float(self._counter.get_total_flops())
        now = time.perf_counter()
        self._gaps[progress.step], self._last = now - self._last, now
        self._tokens[progress.step] = progress.num_tokens
        if not self.optimizer_bytes:
            files = self.run_dir.glob("checkpoints/step-*/optimizer-*.safetensors")
            self.optimizer_bytes = sum(path.stat().st_size for path in files)

    def on_evaluate(self, _: "Evaluation") -> None:
        self.evaluation_seconds = time.perf_counter() - self._last

    @property
    def step_seconds(self) -> float:
        """Of steps with no checkpoint before them."""
        return statistics.median([self._gaps[step] for step in UNDISTURBED])

    @property
    def tokens_a_step(self) -> float:
        return statistics.fmean(self._tokens[step] for step in UNDISTURBED)

    @property
    def checkpoint_seconds(self) -> float:
        return max(0.0, statistics.median([self._gaps[step] for step in AFTER_A_CHECKPOINT]) - self.step_seconds)

    def sizes(self) -> Sizes:
        """Of the model that was trained."""
        assert self._model is not None  # a training has called it
        return sizes_of(self._model)
