"""Energy is counted where the machine counts it, over a counter that wraps, and estimated openly where it does not."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from components.training import energy, hardware
from components.training.energy import Meter


def package(root: Path, number: int, microjoules: int, *, wraps_at: int = 1_000_000_000) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def count_on(file: Path, microjoules: int) -> None:
    """Whole at once, as the kernel does: half a number would be taken for a counter that was taken away."""
    beside = file.with_suffix(".next")
    beside.write_text(str(microjoules))
    beside.replace(file)


def test_the_packages_counters_are_summed_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    one, two = package(tmp_path, 0, 5_000_000), package(tmp_path, 1, 0)
    part = tmp_path / "intel-rapl:0:0"
    part.mkdir()
    (part / "energy_uj").write_text("7")
    (part / "max_energy_range_uj").write_text("9")
    with Meter(device="cpu", num_threads=2, powercap=tmp_path) as meter:
        one.write_text("9000000")
        two.write_text("3000000")
    found = meter.energy()
    assert found.joules == pytest.approx(7.0)
    assert found.source.startswith("rapl")


def test_a_counter_that_wraps_around_is_read_on(tmp_path: Path) -> None:
    file = package(tmp_path, 0, 900_000_000)
    with Meter(device="cpu", num_threads=2, powercap=tmp_path) as meter:
        file.write_text("100000000")
    assert meter.energy().joules == pytest.approx(200.0)


def test_it_is_read_while_the_training_runs_so_that_no_wrap_is_missed(tmp_path: Path) -> None:
    file = package(tmp_path, 0, 0, wraps_at=10_000_000)
    with Meter(device="cpu", num_threads=2, powercap=tmp_path, every_seconds=0.02) as meter:
        for counted in (8_000_000, 6_000_000):  # 8 J, then round and up to 6: 16 J in all
            count_on(file, counted)
            give_up = time.monotonic() + 60
            while meter._packages[0].last != counted:
                assert time.monotonic() < give_up
                time.sleep(0.01)
    assert meter.energy().joules == pytest.approx(16.0)


def test_a_resumed_training_counts_its_earlier_attempts_as_the_last_one(tmp_path: Path) -> None:
    file = package(tmp_path, 0, 0)
    with Meter(device="cpu", num_threads=2, powercap=tmp_path) as meter:
        time.sleep(0.1)
        file.write_text("10000000")
    whole = meter.energy().joules
    assert meter.energy(seconds=3 * meter._seconds).joules == pytest.approx(3 * whole)


def test_what_is_not_counted_is_estimated_and_says_so(tmp_path: Path) -> None:
    with Meter(device="cpu", num_threads=4, powercap=tmp_path / "none") as meter:
        pass
    found = meter.energy(seconds=100.0)
    watts = hardware.watts(device="cpu", num_threads=4, memory_gb=hardware.memory_gb())
    assert found.joules == pytest.approx(100 * watts)
    assert found.source.startswith("estimate: 4 cores at 12 W")


def test_a_board_counts_beside_the_packages(tmp_path: Path) -> None:
    file = package(tmp_path, 0, 0)
    board = iter([1_000, 51_000])
    with Meter(device="cuda", num_threads=2, powercap=tmp_path, board=lambda: next(board)) as meter:
        file.write_text("4000000")
    found = meter.energy()
    assert found.joules == pytest.approx(54.0)
    assert "nvml" in found.source and "rapl" in found.source


def test_a_counter_that_may_not_be_read_is_no_measurement(tmp_path: Path) -> None:
    file = package(tmp_path, 0, 0)
    with Meter(device="cpu", num_threads=2, powercap=tmp_path) as meter:
        file.unlink()
    assert meter.energy().source.startswith("estimate")


def test_of_several_graphics_cards_every_one_counts(monkeypatch, tmp_path: Path) -> None:
    counters = {"GPU-0": [1_000, 11_000], "GPU-1": [5_000, 45_000]}
    fake = SimpleNamespace(
        is_available=lambda: True,
        current_device=lambda: 0,
        get_device_properties=lambda number: SimpleNamespace(uuid=str(number)),
    )
    monkeypatch.setattr(torch, "cuda", fake)
    monkeypatch.setattr(energy, "_counter", lambda uuid: counters[uuid].pop(0))
    nowhere = tmp_path / "none"
    with Meter(device="NVIDIA H100", num_threads=2, num_boards=2, powercap=nowhere) as meter:
        pass
    assert meter.energy().joules == pytest.approx(50.0, abs=1.0)
    assert meter.energy().source == "nvml: 2 boards; the cores beside estimated"
    counters |= {"GPU-0": [1_000, 2_000], "GPU-1": [None, None]}
    with Meter(device="NVIDIA H100", num_threads=2, num_boards=2, powercap=nowhere) as meter:
        pass
    told = meter.energy(seconds=1.0)
    assert told.source.startswith("estimate") and "2 × NVIDIA H100" in told.source, "half of it is no measurement"
    assert told.joules > 2 * 700


def test_of_other_machines_nothing_here_is_counted(tmp_path: Path) -> None:
    file = package(tmp_path, 0, 0)
    with Meter(device="cpu", num_threads=2, powercap=tmp_path, is_here=False) as meter:
        file.write_text("10000000")
    assert meter.energy().source.startswith("estimate")
