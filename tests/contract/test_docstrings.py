"""What a machine can check of the docstrings: that they are there, short at the top, and name the errors raised."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import errors

ROOT = Path(__file__).parents[2]
OURS = {name for name in dir(errors) if isinstance(getattr(errors, name), type)}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> list[Path]:
    out = subprocess.run(
        ["git", "ls-files", "components", "flows", "dashboard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(n) for n in out.stdout.split() if n.endswith(".py") and (ROOT / n).is_file()]


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"))


def public_functions(tree: ast.Module) -> Iterator[tuple[Function, ast.ClassDef | None]]:
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node, None
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield inner, node


@pytest.mark.parametrize("path", [path for path in modules() if path.name != "__init__.py"], ids=str)
def test_a_module_says_what_it_is(path: Path) -> None:
    said = ast.get_docstring(parsed(path)) or ""
    assert said, "one line on what the module is for"
    assert said.splitlines()[0].rstrip().endswith((".", ":", "?")), "a sentence, whole on the first line"


def described_elsewhere(path: Path) -> bool:
    """A command's docstring is its help text; what a language task's methods do stands in their protocol."""
    return path == Path("flows/cli.py") or (path.parent == Path("components/tasks") and path.name != "base.py")


@pytest.mark.parametrize("path", [path for path in modules() if not described_elsewhere(path)], ids=str)
def test_a_function_names_the_errors_of_ours_that_its_own_body_raises(path: Path) -> None:
    missing = []
    for function, owner in public_functions(parsed(path)):
        said = (ast.get_docstring(function) or "") + (ast.get_docstring(owner) or "" if owner else "")
        for name in raised(function):
            kin = {cls.__name__ for cls in getattr(errors, name).__mro__ if cls.__name__ in OURS}
            if not any(word in said for word in kin):
                missing.append(f"{function.name} (line {function.lineno}) raises {name}")
    assert missing == []


def raised(function: Function) -> set[str]:
    """Classes of ours that are raised in the function itself, not in one that is nested in it."""
    found = set()
    nested = {id(n) for f in ast.walk(function) if isinstance(f, Function) and f is not function for n in ast.walk(f)}
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and id(node) not in nested and isinstance(node.exc, ast.Call):
            target = node.exc.func
            if isinstance(target, ast.Name) and target.id in OURS:
                found.add(target.id)
    return found
