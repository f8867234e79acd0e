"""Who may import whom, and what an import must not do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "mlflow", "prefect", "great_expectations", "dvc", "streamlit", "pandas", "sklearn")


def python(code: str, *, cwd: Path, env: dict[str, str] | None = None) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_direction_of_imports_holds() -> None:
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    run = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_the_help_text_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['banyan', '--help']\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    assert python(code, cwd=tmp_path).splitlines()[-1] == "HEAVY []"


def light_modules() -> list[str]:
    out = subprocess.run(["git", "ls-files", "components"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in out.stdout.split() if name.endswith(".py") and (ROOT / name).is_file()]
    return [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names]


def test_importing_the_components_does_nothing(tmp_path: Path) -> None:
    """No folder made, no file written, no thread or process started."""
    code = (
        "import importlib, os, threading\n"
        f"for name in {light_modules()!r}: importlib.import_module(name)\n"
        "import psutil\n"
        "print('THREADS', [t.name for t in threading.enumerate() if t is not threading.main_thread()])\n"
        "print('CHILDREN', psutil.Process().children())\n"
        "print('FILES', sorted(os.listdir('.')))"
    )
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    said = python(code, cwd=work, env={"HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "mpl")}).splitlines()
    assert said[-3:] == ["THREADS []", "CHILDREN []", "FILES []"]


@pytest.mark.parametrize("name", ["prefect", "streamlit"])
def test_a_reader_can_train_without_what_runs_or_shows(name: str, tmp_path: Path) -> None:
    """Pretrain, fine-tune and evaluate from a Python prompt with `components` alone."""
    code = (
        f"import sys; sys.modules['{name}'] = None\n"
        "import components.training.pretraining, components.training.finetuning, components.evaluation.evaluate\n"
        "print(components.training.pretraining.pretrain.__name__)"
    )
    assert python(code, cwd=tmp_path).split()[-1] == "pretrain"
