"""What a Python module's docstrings say: text whose authors marked up what is what."""

import ast
import inspect
from collections.abc import Iterator


def docstrings(code: ast.Module) -> Iterator[str]:
    """Of the module, its classes and functions, without their indentation; in the order of the text."""
    for node in _documented(code):
        if found := ast.get_docstring(node, clean=False):
            yield inspect.cleandoc(found)


def _documented(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Statements only, for expressions hold none: `ast.walk` spends most of its time in them."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _documented(child)
