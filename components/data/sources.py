"""Texts with provenance: packages' sources and docstrings, a shelf of books, the interpreter's own library."""

import ast
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from components import assets
from components.data.cleaning import (
    NO_BODY,
    NO_SUMMARY,
    TOO_LONG,
    Row,
    clean_code,
    clean_prose,
    document_reason,
    kept,
    name_masker,
    prose_reason,
    strip_markup,
)
from components.data.splits import ROWS_PER_GROUP, unit
from components.errors import AssetError, RecipeError
from components.settings import Settings
from components.tasks.base import Task

MIN_WORDS = 8
"""Of a description: below, it says too little to tell where it comes from."""
MIN_TARGET_WORDS = 3
MAX_TARGET_CHARS = 120
_NOT_THEIRS = re.compile(
    r"(^|/)(tests?|testing|benchmarks|externals?|_?vendor|_antlr|locale|site-packages)/"
    r"|(^|/)(test_[^/]*|[^/]*_tests?|conftest)\.py$"
)
"""Tests, generated parsers, and code that other authors brought in under other licences."""


@dataclass(frozen=True)
class Enough:
    """When no more files of a library are read: parsing a library whole takes seconds, and most would be surplus."""

    num_descriptions: int
    num_functions: int
    num_chars: int


@dataclass
class Texts:
    """What a source gives, each part as rows, the rejected ones included."""

    documents: list[Row] = field(default_factory=list)
    """Whole source files, or pieces of books (corpus)."""
    descriptions: list[Row] = field(default_factory=list)
    """First paragraph of a docstring → the library (library)."""
    functions: list[Row] = field(default_factory=list)
    """A short function without its docstring → the docstring's first line (summary)."""

    def extend(self, other: "Texts") -> None:
        self.documents += other.documents
        self.descriptions += other.descriptions
        self.functions += other.functions


def read_packages(names: tuple[str, ...], *, settings: Settings, max_chars: int, enough: Enough, seed: int) -> Texts:
    """The texts of pinned packages; the name of none of them shows in a description.

    Files are read in the order of their hashes until there is enough of everything.

    Raises:
        AssetError: a name that is no package; or as `assets.fetch`.
    """
    for name in names:
        if assets.get_asset(name).kind != "package":
            raise AssetError(f"asset {name} is {assets.get_asset(name).kind}, not a package")
    masker = name_masker(own for name in names for own in assets.get_asset(name).names)
    texts = Texts()
    for name in names:
        asset = assets.get_asset(name)
        folder = assets.unpack(name, settings=settings)
        files = {f"{name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
        theirs = [group for group in files if not _NOT_THEIRS.search(group.partition("/")[2])]
        num_descriptions = num_functions = num_chars = 0
        for group in sorted(theirs, key=lambda group: (unit(seed, group), group)):
            found = _read_module(
                files[group],
                masker,
                source=name,
                licence=asset.licence,
                group=group,
                max_chars=max_chars,
            )
            texts.extend(found)
            num_descriptions += min(ROWS_PER_GROUP, len(kept(found.descriptions)))
            num_functions += min(ROWS_PER_GROUP, len(kept(found.functions)))
            num_chars += sum(len(row.text) for row in kept(found.documents))
            if (
                num_descriptions >= enough.num_descriptions
                and num_functions >= enough.num_functions
                and num_chars >= enough.num_chars
            ):
                break
    return texts


def read_gold(
    names: tuple[str, ...], *, task: Task, settings: Settings, max_chars: int, enough: int, seed: int
) -> list[Row]:
    """What the modules of pinned packages hold for a task by construction (`Task.gold`).

    Files are read in the order of their hashes until each package has given `enough` usable rows.

    Raises:
        RecipeError: the task finds nothing of its own in modules.
        AssetError: a name that is no package; or as `assets.fetch`.
    """
    if type(task).gold is Task.gold:
        raise RecipeError(f"no docstring holds {task.name} by construction", "give a file of your own")
    rows: list[Row] = []
    for name in names:
        asset = assets.get_asset(name)
        if asset.kind != "package":
            raise AssetError(f"asset {name} is {asset.kind}, not a package")
        folder = assets.unpack(name, settings=settings)
        files = {f"{name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
        num_usable = 0
        for group in sorted(files, key=lambda group: (unit(seed, group), group)):
            if num_usable >= enough:
                break
            if _NOT_THEIRS.search(group.partition("/")[2]):
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # invalid escapes in other people's strings
                    code = ast.parse(files[group].read_text("utf-8"))
            except (UnicodeDecodeError, SyntaxError, ValueError):
                continue  # `read_packages` says which cannot be read
            found = [Row(text, target, name, asset.licence, group) for text, target in task.gold(code)]
            for row in found:
                row.reason = TOO_LONG if len(row.text) > max_chars else ""
            rows += found
            num_usable += min(ROWS_PER_GROUP, len(kept(found)))
    return rows


_PARTS_LEFT_OUT = {
    "test",
    "distutils",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "site-packages",
    "ensurepip",
    "__pycache__",
    "pydoc_data",
}


def read_interpreter(*, max_chars: int, num_labels: int = 5) -> Texts:
    """The running interpreter's own library; the label is the top-level part (`asyncio`, `email`, …).

    Only the `num_labels` parts with the most usable descriptions are labels; the corpus is of all. What some
    installations leave out (tests, distutils, idlelib) is left out everywhere.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    texts = Texts()
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        part = relative.parts[0].removesuffix(".py")
        if part in _PARTS_LEFT_OUT or part.startswith("_") or _NOT_THEIRS.search(relative.as_posix()):
            continue
        group = f"python/{relative.as_posix()}"
        found = _read_module(
            path,
            name_masker([]),
            source=part,
            licence="PSF-2.0",
            group=group,
            max_chars=max_chars,
            min_words=MIN_WORDS - 2,
        )  # it says less than the demo's libraries
        texts.extend(found)
    per_file = Counter((row.source, row.group) for row in kept(texts.descriptions))
    usable: Counter[str] = Counter()
    for (part, _), number in per_file.items():
        usable[part] += min(ROWS_PER_GROUP, number)
    labels = {part for part, _ in sorted(usable.items(), key=lambda item: (-item[1], item[0]))[:num_labels]}
    masker = name_masker(labels)
    descriptions = [row for row in texts.descriptions if row.source in labels]
    for row in descriptions:
        row.text = masker.sub("library", row.text)
    return Texts(
        documents=texts.documents,
        descriptions=descriptions,
        functions=[row for row in texts.functions if row.source in labels],
    )


def read_books(name: str, *, settings: Settings, piece_chars: int = 8_000) -> Texts:
    """The books of an asset, cut at blank lines into pieces of about `piece_chars`.

    Raises:
        AssetError: the asset holds no books; or as `assets.fetch`.
    """
    asset = assets.get_asset(name)
    if asset.kind != "books":
        raise AssetError(f"asset {name} is {asset.kind}, not books")
    texts = Texts()
    for path in sorted(assets.unpack(name, settings=settings).glob("*_gut.txt")):  # `_gut_f`: the same plays, folio
        for number, piece in enumerate(_pieces(clean_code(path.read_text("utf-8", "replace")), piece_chars)):
            row = Row(piece, "", name, asset.licence, f"{name}/{path.name}#{number:03}")
            row.reason = document_reason(piece)
            texts.documents.append(row)
    return texts


def _pieces(text: str, piece_chars: int) -> Iterator[str]:
    piece = ""
    for paragraph in re.split(r"\n{2,}", text):
        if piece and len(piece) + len(paragraph) > piece_chars:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    if piece:
        yield piece


# ---------------------------------------------------------------- one Python file


def _read_module(
    path: Path,
    masker: re.Pattern[str],
    *,
    source: str,
    licence: str,
    group: str,
    max_chars: int,
    min_words: int = MIN_WORDS,
) -> Texts:
    texts = Texts()
    try:
        code = path.read_text("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(code)
    except (UnicodeDecodeError, SyntaxError, ValueError) as err:
        texts.documents.append(Row("", "", source, licence, group, reason=f"not readable: {type(err).__name__}"))
        return texts
    document = Row(clean_code(code), "", source, licence, group)
    document.reason = document_reason(document.text)
    texts.documents.append(document)
    lines = code.splitlines()
    for node in _definitions(tree):
        docstring = ast.get_docstring(node)
        if docstring is None:
            continue
        description = Row(_description(docstring, masker), source, source, licence, group)
        description.reason = prose_reason(description.text, min_words=min_words, max_chars=max_chars)
        texts.descriptions.append(description)
        if not isinstance(node, ast.ClassDef):
            function = Row(_without_docstring(node, lines), _first_line(docstring), source, licence, group)
            function.reason = _function_reason(function, max_chars)
            texts.functions.append(function)
    return texts


def _definitions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions and classes, nested ones too. Expressions hold none: `ast.walk` spends most of its time in them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _definitions(child)


def _description(docstring: str, masker: re.Pattern[str]) -> str:
    first = re.split(r"\n\s*\n", docstring.strip(), maxsplit=1)[0]
    return clean_prose(masker.sub("library", strip_markup(first)))


def _first_line(docstring: str) -> str:
    """The docstring's first line; '' where the sentence goes on in the second."""
    first, _, rest = docstring.strip().partition("\n")
    goes_on = rest.split("\n", 1)[0].strip() and not first.rstrip().endswith((".", "!", "?", ":"))
    return "" if goes_on else clean_prose(strip_markup(first))


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """The function's own lines, dedented, from `def` on."""
    body = node.body[1:]
    if not body:
        return ""  # nothing but a docstring
    if len(body) == 1 and isinstance(body[0], ast.Pass | ast.Raise | ast.Expr):
        return ""  # a placeholder: `pass`, `...`, `raise NotImplementedError`
    first = node.lineno - 1
    docstring = node.body[0]
    if docstring.lineno == node.lineno or body[0].lineno <= (docstring.end_lineno or 0):
        return ""  # all on one line
    own = lines[first : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    return clean_code("\n".join(line[node.col_offset :] for line in own))


_GENERIC = re.compile(r"^(see |todo|deprecated|docstring|test|@|:|>>>|\W*$)", re.IGNORECASE)


def _function_reason(row: Row, max_chars: int) -> str:
    if "\n" not in row.text:
        return NO_BODY
    if len(row.text) > max_chars:
        return TOO_LONG
    words = len(row.answer.split())
    if words < MIN_TARGET_WORDS or len(row.answer) > MAX_TARGET_CHARS or _GENERIC.match(row.answer):
        return NO_SUMMARY
    return ""
