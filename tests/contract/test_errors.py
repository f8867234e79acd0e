"""The error tree's drawing, its classes and what retries and exit codes read off it."""

import inspect
import pickle
import re

import pytest

from components import errors
from components.errors import BanyanError, Transient, UsageError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BanyanError)]


def drawing() -> dict[str, tuple[str | None, bool]]:
    """Name → (parent, is transient), read from the docstring's tree by its indentation."""
    drawn: dict[str, tuple[str | None, bool]] = {}
    path: list[tuple[int, str]] = []
    tree = (errors.__doc__ or "").partition("    BanyanError\n")
    for line in (tree[1] + tree[2].partition("\n\n")[0]).splitlines():
        match = re.match(r"^([│├└─ ]*)(\w+)(.*)$", line)
        assert match, line
        depth, name = len(match[1]), match[2]
        path = [(d, n) for d, n in path if d < depth]
        drawn[name] = (path[-1][1] if path else None, "(Transient)" in match[3])
        path.append((depth, name))
    return drawn


def test_the_docstring_draws_exactly_the_classes_there_are() -> None:
    real = {
        cls.__name__: (None if cls is BanyanError else cls.__bases__[0].__name__, issubclass(cls, Transient))
        for cls in CLASSES
    }
    assert drawing() == real


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_keeps_message_and_remedy_through_pickling(cls: type[BanyanError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("what", "do this")))
    assert type(copy) is cls
    assert (copy.message, copy.remedy, str(copy)) == ("what", "do this", "what — do this")


@pytest.mark.parametrize("cls", CLASSES)
def test_the_exit_code_is_two_for_the_callers_mistakes_alone(cls: type[BanyanError]) -> None:
    assert cls("x").exit_code == (2 if issubclass(cls, UsageError) else 1)
