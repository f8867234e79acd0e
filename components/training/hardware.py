"""What machines can do and what they draw: data sheets, measured rates, and estimates that say what they assume."""

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

WATTS_A_CPU_CORE = 12.0
WATTS_A_GB = 0.3725
"""Of a busy core and of memory, where nothing is measured: Lannelongue, Grealey & Inouye 2021, Green Algorithms,
doi 10.1002/advs.202100707."""


@dataclass(frozen=True)
class Gpu:
    """A GPU by its vendor's data sheet."""

    name: str
    peak_flops: float
    """bf16 on tensor cores, a second, dense (data sheets quote twice that, with sparsity)."""
    memory_gb: float
    watts: float
    """Of the board, at most."""
    source: str


GPUS = (
    Gpu("NVIDIA L4", 121e12, 24, 72, "NVIDIA L4 Tensor Core GPU data sheet, 2023"),
    Gpu("NVIDIA L40S", 362e12, 48, 350, "NVIDIA L40S data sheet, 2023"),
    Gpu("NVIDIA A100 SXM 80 GB", 312e12, 80, 400, "NVIDIA A100 Tensor Core GPU data sheet, 2021"),
    Gpu("NVIDIA H100 SXM", 989e12, 80, 700, "NVIDIA H100 Tensor Core GPU data sheet, 2023"),
    Gpu("NVIDIA H200 SXM", 989e12, 141, 700, "NVIDIA H200 Tensor Core GPU data sheet, 2024"),
)

ASSUMED_UTILISATION = 0.30
"""Of a GPU's peak: between GPT-3's 0.21 and PaLM's 0.46 (Chowdhery et al. 2022, arXiv 2204.02311, table 3). Small
models reach less: they wait for kernels to start."""


def watts(*, device: str, num_threads: int, memory_gb: float, num_boards: int = 1) -> float:
    """What a training draws, estimated: the data sheet's limit of known GPUs; besides its cores and its memory.

    Cooling and what else the machine does are not in it.
    """
    words = re.findall(r"\w+", device)  # of "NVIDIA A100-SXM4-80GB"; an L40S is no L4
    known = next((gpu for gpu in GPUS if gpu.name.split()[1] in words), None)
    boards = num_boards * known.watts if known else 0.0
    return boards + num_threads * WATTS_A_CPU_CORE + memory_gb * WATTS_A_GB


def memory_gb() -> float:
    """Of this machine, in GB (10⁹ bytes)."""
    import psutil

    return float(psutil.virtual_memory().total) / 1e9


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def matmul_flops(device: "torch.device", precision: Literal["fp32", "bf16"], *, seconds: float = 0.3) -> float:
    """Operations a second that one large product of matrices reaches here: what utilisation is measured against."""
    import torch

    size = 1024 if device.type == "cpu" else 8192
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best = 0.0
    a @ b  # the first one sets up
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def peaks(runs: Path) -> Path:
    """Where a workspace keeps what `known_matmul_flops` measured."""
    return runs / "peaks.json"


def known_matmul_flops(device: "torch.device", precision: Literal["fp32", "bf16"], *, file: Path) -> float:
    """As `matmul_flops`, measured once a device, precision and number of threads, and kept in `file` as JSON."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    key = f"{name}, {precision}, torch {torch.__version__}"
    try:
        known: dict[str, float] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = matmul_flops(device, precision)
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.write_text(json.dumps(known, indent=1), "utf-8")
        beside.replace(file)
    return known[key]
