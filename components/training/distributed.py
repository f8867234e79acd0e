"""Several processes that train one model together: each takes its share of a step's rows, their gradients add up.

Which rows a step has stays a function of (seed, step), whoever computes them: so one worker and four take the same
steps, up to the order of additions. Recipes say nothing of it; the launcher does (`launch`).

`ddp`: every worker has the whole model (Li et al. 2020, arXiv 2006.15704). `fsdp`: each keeps a share of weights,
gradients and optimizer state, and has a block whole only while it computes it (Zhao et al. 2023, arXiv 2304.11277;
PyTorch's `fully_shard`).
"""

import contextlib
import copy
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from components.errors import RecipeError, TrainingError
from components.recipes import Training

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from components.training.loop import Batch, Loss

Strategy = Literal["ddp", "fsdp"]
TIMEOUT = datetime.timedelta(minutes=10)
"""How long a worker waits for the others; as long as the slowest one takes to read its rows or to write the model."""


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    strategy: Strategy = "ddp"
    backend: Literal["gloo", "nccl"] = "gloo"

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        return self.size > 1 and self.strategy == "fsdp"

    @property
    def name(self) -> str:
        """For the lock; empty for one process, however it was started."""
        return named(self.size, self.strategy, self.backend)


ALONE = World()


def named(size: int, strategy: Strategy, backend: str) -> str:
    """`2 workers, ddp, gloo`; empty for one."""
    return f"{size} workers, {strategy}, {backend}" if size > 1 else ""


@contextlib.contextmanager
def joined(strategy: Strategy, *, size: int, device: str) -> Iterator[World]:
    """The group of processes that `torchrun` or Ray Train started, of which there must be `size`.

    Raises:
        TrainingError: it is another number: the launcher did not start what was asked for.
    """
    import os

    import torch
    import torch.distributed as dist

    backend: Literal["gloo", "nccl"] = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":  # every worker its own; `resolve` then means this one by "cuda"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # numbers and objects go from CPU to CPU; gradients by NCCL where they lie on GPUs
    is_made = dist.is_initialized()  # Ray Train makes it
    if not is_made:
        how = "cpu:gloo,cuda:nccl" if backend == "nccl" else "gloo"
        dist.init_process_group(how, timeout=TIMEOUT, **_meeting_place())
    try:
        if dist.get_world_size() != size:
            raise TrainingError(
                f"{size} workers were asked for and {dist.get_world_size()} are there",
                "start the training by torchrun: other launchers may run one process and say nothing",
            )
        yield World(dist.get_rank(), size, strategy, backend)
    finally:
        if not is_made:
            dist.destroy_process_group()


def _meeting_place() -> dict[str, Any]:
    """Where the workers of this attempt find one another's addresses, for `init_process_group`.

    torchrun keeps one store for all attempts (torch 2.13: `DynamicRendezvousHandler` makes it at the first rendezvous,
    and `_create_c10d_store` adds no prefix, believing it to be new). A worker that is quicker than the others would
    read a dead one's address there and wait for it: each attempt has its own part of the store here.
    """
    import os

    import torch

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    dist: Any = torch.distributed
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=TIMEOUT)
    attempt = f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}"
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return {"store": dist.PrefixStore(attempt, store), "rank": rank, "world_size": size}


def check(recipe: Training, world: World) -> None:
    """Raise RecipeError where the recipe cannot be trained by these workers."""
    rows = recipe.batch_size * recipe.num_accumulation_steps
    if recipe.num_accumulation_steps % world.size and recipe.batch_size < world.size:
        raise RecipeError(
            f"{recipe.name}: {rows} rows a step in batches of {recipe.batch_size} do not go round {world.size} workers",
            "raise batch_size, make num_accumulation_steps a multiple of the workers, or take fewer workers",
        )
    if world.size > 1 and getattr(recipe, "ensemble", None):
        raise RecipeError(f"{recipe.name}: the members of an ensemble train in one process", "use one worker")
    if not world.is_sharded:
        return
    for field, why in (
        (recipe.optimizer == "muon", "optimizer muon needs whole matrices"),
        (getattr(recipe, "adaptation", "full") == "lora", "adapters are small, and the frozen base is of another type"),
        (recipe.averaging or recipe.patience_evaluations, "averaging and patience keep whole weights"),
    ):
        if field:
            raise RecipeError(f"{recipe.name}: {why}: it does not go with fsdp", "set BANYAN_PARALLEL=ddp")


def agree(world: World, what: str, value: str) -> None:
    """Raise TrainingError where a worker has another value than the first: they would train another thing."""
    if world.size == 1:
        return
    found = gathered(world, value)
    if others := [rank for rank, one in enumerate(found) if one != found[0]]:
        raise TrainingError(
            f"worker {others[0]} has another {what} than worker 0", "give all the same code, data and packages"
        )


def gathered(world: World, value: Any) -> list[Any]:
    """Every worker's value, by rank."""
    import torch.distributed as dist

    found: list[Any] = [None] * world.size
    dist.all_gather_object(found, value)
    return found


def from_first(world: World, value: Any) -> Any:
    """The first worker's value."""
    if world.size == 1:
        return value
    import torch.distributed as dist

    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def share(batches: "Sequence[Batch]", world: World) -> "tuple[list[Batch], list[int]]":
    """This worker's part of a step's micro-batches, and which of the step's rows these are.

    Whole micro-batches, every n-th, where their number allows: they go from short rows to long ones, so all have some
    of each. Else each worker has its part of every micro-batch.
    """
    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + len(batch["input_ids"]))
    if len(batches) % world.size == 0:
        mine = range(world.rank, len(batches), world.size)
        return [batches[i] for i in mine], [row for i in mine for row in range(starts[i], starts[i + 1])]
    own: list[Batch] = []
    rows: list[int] = []
    for batch, start, end in zip(batches, starts, starts[1:], strict=False):
        first, last = ((end - start) * r // world.size for r in (world.rank, world.rank + 1))
        own.append({name: tensor[first:last] for name, tensor in batch.items()})
        rows += range(start + first, start + last)
    return own, rows


def added(*numbers: float) -> list[float]:
    """Each number's sum over all workers."""
    import torch
    import torch.distributed as dist

    summed = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(summed)
    return summed.tolist()


class Together:
    """A loss whose backward pass leaves every worker with the mean of all workers' gradients.

    DDP wraps loss and model as one module, so that the loss is called with the model itself. It looks for unused
    parameters at every step: those keep no gradient, as in one process; and its buckets stay as they are, where it
    would else make new ones after the first step, and a resumed run would add in another order.
    """

    def __init__(self, model: "PreTrainedModel", loss: "Loss", *, world: World) -> None:
        import torch

        class Module(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, batch: "Mapping[str, Tensor]") -> "tuple[Tensor, Tensor]":
                return loss(self.model, batch)

        self._loss, self._ddp = loss, None
        if not world.is_sharded:
            self._ddp = torch.nn.parallel.DistributedDataParallel(
                Module(), find_unused_parameters=True, forward_sync_buffers=False
            )

    def __call__(self, model: "PreTrainedModel", batch: "Batch") -> "tuple[Tensor, Tensor]":
        """As any loss; of a sharded model the hooks of `fully_shard` do the rest, micro-batch by micro-batch."""
        found: tuple[Tensor, Tensor] = self._ddp(batch) if self._ddp else self._loss(model, batch)
        return found

    def without_exchange(self) -> contextlib.AbstractContextManager[None]:
        """For all micro-batches of a step but the last: their gradients add up here first."""
        return self._ddp.no_sync() if self._ddp else contextlib.nullcontext()


def clip(parameters: "Sequence[Tensor]", most: float) -> float:
    """Scale sharded gradients to a norm of at most `most`, that of all shards together; the norm before."""
    import torch
    from torch.distributed.tensor import DTensor

    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm.item()


def spread(model: "PreTrainedModel", recipe: Training, *, world: World) -> "Callable[[], PreTrainedModel]":
    """Shard the model in place where the workers do; gives what puts the trained one together on the first worker.

    Every block of a list of blocks is a unit of its own, the rest is another: so at most a block and the rest are
    whole at a time. The first worker keeps the model's form and size in CPU memory for the end.
    """
    if not world.is_sharded:
        return lambda: model
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from components.training.device import resolve

    device = resolve(recipe.device)
    whole = copy.deepcopy(model) if world.is_first else model
    mesh = init_device_mesh(device.type, (world.size,))
    model.to(device)  # type: ignore[arg-type]  # transformers wraps it without its types
    for blocks in [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]:
        for block in blocks:
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)  # so that nothing is whole between steps

    def put_together() -> "PreTrainedModel":
        theirs = dict(whole.named_parameters()) if world.is_first else {}
        with torch.no_grad():
            for name, p in model.named_parameters():
                full = p.full_tensor()  # type: ignore[attr-defined]  # all workers take part
                if world.is_first:
                    theirs[name].copy_(full)
        return whole.eval()

    return put_together


def placed(full: "Tensor", like: "Tensor") -> "Tensor":
    """A whole tensor as `like` lies: this worker's share of it, or the whole."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
