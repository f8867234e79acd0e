"""The tree is what the design says it is, and no name in it shadows another."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("components", "flows", "dashboard")

TOP_LEVEL = {
    ".ci", ".dvcignore", ".gitattributes", ".gitignore", ".streamlit",
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "README.zh.md",
    "components", "dashboard", "data.dvc", "docs", "flows", "infra",
    "pyproject.toml", "requirements.lock", "tests",
}  # fmt: skip
REQUIRED = TOP_LEVEL - {".dvcignore", ".gitattributes", ".streamlit"}

TEST_KINDS = {
    "unit", "flow", "dashboard", "browser", "contract", "invariant", "fault", "e2e", "benchmarks",
}  # fmt: skip

VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def tracked(*patterns: str) -> list[Path]:
    out = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in out.stdout.split("\0") if name and (ROOT / name).is_file()]


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in tracked(f"{package}/*.py")]


def test_the_top_level_holds_only_what_the_design_names() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert not found - TOP_LEVEL, "say in docs/adr why it is here, then add it to TOP_LEVEL"


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_required_part_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_kind_of_test_is_a_known_one() -> None:
    found = {path.relative_to(ROOT / "tests").parts[0] for path in tracked("tests/*") if path.suffix == ".py"}
    assert not {name for name in found if not name.endswith(".py")} - TEST_KINDS


def test_unit_tests_lie_where_the_modules_they_test_lie() -> None:
    folders = {path.parent.relative_to(ROOT / "tests/unit") for path in tracked("tests/unit/*.py")}
    missing = {folder for folder in folders if not any((ROOT / base / folder).is_dir() for base in ("components", "."))}
    assert not missing, f"tests/unit mirrors components: {sorted(map(str, missing))}"


def test_no_module_has_a_vague_name() -> None:
    assert [str(path.relative_to(ROOT)) for path in modules() if path.stem in VAGUE] == []


@pytest.mark.parametrize("package", ["flows", "dashboard"])
def test_no_script_folder_shadows_another_module(package: str) -> None:
    """Streamlit puts `dashboard/` first on the path, a flow loaded by file path `flows/`: a
    `types.py` there would be everybody's `types`."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions()) | set(PACKAGES)
    names = {path.stem for path in tracked(f"{package}/*.py") if path.parent == ROOT / package}
    names |= {path.parent.name for path in tracked(f"{package}/*/*.py") if path.parent.parent == ROOT / package}
    assert not (names - {"__init__"}) & taken


def test_streamlit_finds_no_folder_of_pages_by_itself() -> None:
    assert not (ROOT / "dashboard/pages").exists()


def test_infra_holds_no_importable_python() -> None:
    assert [str(path) for path in tracked("infra/*.py")] == []


def test_no_module_has_grown_past_what_one_can_read() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}, "split it"
    views = {name: lines for name, lines in lengths.items() if name.startswith("dashboard/views/") and lines > 80}
    assert views == {}, "logic belongs in a view model"


def test_flow_bodies_only_name_steps() -> None:
    """One flow a file, at most 40 lines of body."""
    for path in tracked("flows/*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_flow(node):
                body = [line for line in node.body if not is_docstring(line)]
                length = (node.end_lineno or 0) - body[0].lineno + 1
                assert length <= 40, f"{path.name}: the flow {node.name} has {length} lines"


def is_flow(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(isinstance(name, ast.Name) and name.id == "flow" for name in names)


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_nothing_large_is_in_git() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > 1_000_000] == [], "data belongs in DVC"
