"""What the documents tell a reader to type: every command exists, and every line is one that it takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from flows.cli import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "README.zh.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMANDS = {"banyan", "make", "python", "python3.11", "source", "git", "pip", "curl", "export", "kill", "cat", "ls"}


def shell_lines(path: Path) -> list[str]:
    """The lines of the document's shell blocks, without comments and prompts."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def commands(line: str) -> list[list[str]]:
    """The commands of a line, in words."""
    return [words(part) for part in re.split(r"\s(?:\|\|?|&&)\s", line)]


def words(command: str) -> list[str]:
    """Without variables before the command and redirections after it."""
    found = shlex.split(re.split(r"\s>\s", command)[0], comments=True)
    while found and re.fullmatch(r"[A-Z_]+=.*", found[0]):
        found.pop(0)
    return found


def parse(arguments: list[str]) -> None:
    """Parse as `banyan` does, without running anything. Raises a usage error."""
    root = typer.main.get_command(app)
    command = root.commands[arguments[0]]  # type: ignore[attr-defined]  # KeyError: there is no such command
    command.make_context(arguments[0], arguments[1:])


CASES = [(path.name, line) for path in DOCUMENTS if path.exists() for line in shell_lines(path)]


@pytest.mark.parametrize(("document", "line"), CASES, ids=[f"{name}: {line[:50]}" for name, line in CASES])
def test_a_line_to_type_is_one_that_works(document: str, line: str) -> None:
    for command, *arguments in commands(line):
        assert Path(command).name in COMMANDS, f"{document} tells readers to type {command}"
        if Path(command).name == "banyan":
            parse(arguments)
        if command == "make":
            targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
            assert {word for word in arguments if "=" not in word} <= targets


@pytest.mark.parametrize("path", DOCUMENTS[:2], ids=lambda path: path.name)
def test_a_command_that_a_readme_names_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    named = set(re.findall(r"`banyan ([a-z-]+)", text))
    for row in re.findall(r"^\| `banyan .*", text, flags=re.MULTILINE):
        named |= set(re.findall(r"· `([a-z-]+)", row))
    real = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert named == real


def test_both_readmes_tell_to_type_the_same() -> None:
    english, chinese = (shell_lines(path) for path in DOCUMENTS[:2])
    assert english == chinese


def test_the_parser_of_this_test_refuses_what_banyan_refuses() -> None:
    with pytest.raises(KeyError):
        parse(["trian"])
    with pytest.raises(Exception, match="No such option"):
        parse(["train", "library", "--tabel", "x"])
    with pytest.raises(Exception, match="Missing"):
        parse(["ask", "emoji"])
