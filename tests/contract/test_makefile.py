"""The two commands' own behaviour: what `make` alone says, and what happens where Python 3.11 is missing."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text("utf-8")
TARGETS = {"demo", "test", "check", "bench", "test-gpu", "setup", "clean"}


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True)


def made_before(venv: Path) -> Path:
    """A folder that make takes for an environment that is up to date."""
    content = (ROOT / "requirements.lock").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    found = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True, cwd=ROOT)
    venv.mkdir()
    (venv / f".installed-{found.stdout.decode().strip()}").touch()
    return venv


def test_make_alone_lists_every_target_with_a_line_and_makes_nothing() -> None:
    run = make()
    listed = dict(re.findall(r"^  make (\S+) +(\S.*)$", run.stdout, flags=re.MULTILINE))
    assert run.returncode == 0
    assert set(listed) >= TARGETS
    assert set(listed) == set(re.findall(r"^([a-z-]+):(?!=)", TEXT, flags=re.MULTILINE))


def test_a_missing_python_is_told_with_ways_to_get_it(tmp_path: Path) -> None:
    run = make("setup", "PYTHON=python3.11-that-is-not-there", f"VENV={tmp_path / 'venv'}")
    assert run.returncode != 0
    assert "Banyan needs Python 3.11" in run.stderr and "apt install" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_another_python_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    fake = tmp_path / "python3.11"
    fake.write_text("#!/bin/sh\n[ \"$1\" = -V ] && echo 'Python 3.9.1' && exit 0\nexit 1\n")
    fake.chmod(0o755)
    run = make("setup", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}")
    assert run.returncode != 0 and "Python 3.9.1" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_an_environment_that_is_up_to_date_is_left_alone(tmp_path: Path) -> None:
    venv = made_before(tmp_path / "venv")
    run = make("setup", "PYTHON=never-asked", f"VENV={venv}")
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.parametrize(("words", "said"), [((), "startup"), (("NAME=nothing",), "there is no benchmark nothing")])
def test_a_benchmark_without_a_name_that_exists_is_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    run = make("bench", f"VENV={made_before(tmp_path / 'venv')}", *words)
    assert run.returncode != 0 and said in run.stderr


def test_the_lock_pins_everything_but_torch_and_names_no_place() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line)] == []
    names = {line.split("==")[0].lower() for line in lines}
    assert not {name for name in names if name == "torch" or name.startswith("nvidia") or name == "triton"}
    assert {"prefect", "mlflow", "dvc", "great_expectations", "streamlit", "transformers", "pytest", "ruff"} <= names


def test_the_torch_that_make_installs_is_one_that_the_project_takes() -> None:
    import tomllib

    from packaging.requirements import Requirement

    pinned = re.search(r"^TORCH := torch==(\S+)$", TEXT, flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = next(Requirement(line) for line in project["dependencies"] if line.startswith("torch"))
    assert pinned and wanted.specifier.contains(pinned[1])


def test_the_lock_meets_the_ranges_of_the_project() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in locked.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]
    unmet = [
        str(r) for r in wanted if r.name != "torch" and versions.get(canonicalize_name(r.name), "") not in r.specifier
    ]
    assert unmet == []


def test_ci_runs_what_a_desk_runs() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert script.rstrip().endswith("make check test")
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
