"""Relations that a Python module holds by construction: its syntax tree, and what its docstrings mark up."""

import ast
import re
import warnings
from collections.abc import Iterator

from components.knowledge import Graph, one_line

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_SECTION = re.compile(r"^(?P<title>[A-Z][A-Za-z ]+)\n-{3,}\s*$", re.MULTILINE)  # numpydoc's underlined titles
# Sphinx and epytext
_FIELD_RAISES = re.compile(r"^\s*[:@]raises?\s+(?P<name>[\w.`~!]+)\s*:(?P<rest>[^\n]*)", re.MULTILINE)
_GOOGLE_RAISES = re.compile(r"^Raises:\n(?P<body>(?:[ \t]+\S[^\n]*\n?)+)", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|exc|obj|attr):`~?!?(?P<name>[\w.]+)(?:\(\))?`")
_SEEALSO = re.compile(r"^\s*\.\. seealso::(?P<body>(?:[^\n]*\n?)(?:[ \t]+[^\n]*\n?)*)", re.MULTILINE)
_NAME = re.compile(r"^[A-Za-z_][\w.]*$")


def from_module(code: str, *, module: str, document: str) -> Graph:
    """What is defined in a module, what it inherits, raises and refers to. Nothing where it is not Python.

    A name is written with its module (`networkx.classes.graph.Graph`) where the module says which it is; a name that
    comes from elsewhere stays as it is written there.
    """
    graph = Graph()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return graph
    graph.mention(module, "module", document)
    known = _imported(tree, module) | {node.name: f"{module}.{node.name}" for node in _definitions(tree)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (origin := _origin(node, module)):
            _add(graph, (module, "module"), "imports", (origin, "module"), one_line(ast.unparse(node)), document)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                _add(
                    graph, (module, "module"), "imports", (alias.name, "module"), one_line(ast.unparse(node)), document
                )
    _definitions_in(graph, tree, (module, "module"), known, document)
    return graph


def _add(graph: Graph, subject: tuple[str, str], kind: str, target: tuple[str, str], said: str, document: str) -> None:
    graph.add(subject, kind, target, sentence=said, document=document)


def _definitions(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    return (child for child in node.body if isinstance(child, Definition) and not child.name.startswith("_"))


def _definitions_in(
    graph: Graph, owner_node: ast.Module | ast.ClassDef, owner: tuple[str, str], known: dict[str, str], document: str
) -> None:
    for node in _definitions(owner_node):
        name = f"{owner[0]}.{node.name}"
        kind = "class" if isinstance(node, ast.ClassDef) else "function"
        if isinstance(node, ast.ClassDef) and _is_exception(node):
            kind = "exception"
        docstring = ast.get_docstring(node) or ""
        line = f"{'class' if kind != 'function' else 'def'} {node.name}: {docstring.partition(chr(10))[0]}".rstrip(": ")
        _add(graph, owner, "contains", (name, kind), line, document)
        _referred(graph, (name, kind), docstring, known, document)
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                if written := _dotted(base):
                    said = f"class {node.name}({', '.join(ast.unparse(b) for b in node.bases)})"
                    target_kind = "exception" if written.endswith(("Error", "Exception", "Warning")) else "class"
                    _add(graph, (name, kind), "inherits", (known_as(written, known), target_kind), said, document)
            _definitions_in(graph, node, (name, kind), known, document)
        else:
            _raised(graph, name, node, docstring, known, document)


def _is_exception(node: ast.ClassDef) -> bool:
    return any((_dotted(base) or "").endswith(("Error", "Exception", "Warning")) for base in node.bases)


def _raised(
    graph: Graph, name: str, node: ast.FunctionDef | ast.AsyncFunctionDef, docstring: str, known: dict[str, str],
    document: str,
) -> None:  # fmt: skip
    """The docstring's sentence supports it where there is one, else the statement."""
    found = dict(_said_to_raise(docstring))
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise) and inner.exc is not None:
            written = _dotted(inner.exc.func if isinstance(inner.exc, ast.Call) else inner.exc)
            if written and written.rpartition(".")[2][:1].isupper():
                found.setdefault(written, ast.unparse(inner)[:300])
    for written, said in found.items():
        _add(graph, (name, "function"), "raises", (known_as(written, known), "exception"), said, document)


def _said_to_raise(docstring: str) -> Iterator[tuple[str, str]]:
    """(exception, sentence) of numpydoc's, Google's, Sphinx's and epytext's way of writing."""
    for match in _FIELD_RAISES.finditer(docstring):
        name = match["name"].strip("`~!")
        yield name, f"{name}: {match['rest'].strip()}".rstrip(": ")
    for title, body in _sections(docstring):
        if title == "Raises":
            yield from _entries(body)
    for match in _GOOGLE_RAISES.finditer(docstring):
        for line in match["body"].splitlines():
            name, colon, rest = line.strip().partition(":")
            if colon and _NAME.match(name):
                yield name, f"{name}: {rest.strip()}"


def _sections(docstring: str) -> Iterator[tuple[str, str]]:
    titles = list(_SECTION.finditer(docstring))
    for here, following in zip(titles, [*titles[1:], None], strict=False):
        yield here["title"].strip(), docstring[here.end() : following.start() if following else None]


def _entries(body: str) -> Iterator[tuple[str, str]]:
    """A numpydoc section's entries: a name at the margin, with what is indented under it or follows its colon."""
    lines = [line for line in body.splitlines() if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    for number, line in enumerate(lines):
        if len(line) - len(line.lstrip()) != margin:
            continue
        names, _, rest = line.strip().partition(" : ")
        more = []
        for other in lines[number + 1 :]:
            if len(other) - len(other.lstrip()) == margin:
                break
            more.append(other.strip())
        said = " ".join([rest.strip(), *more]).strip()
        for written in re.split(r",\s*", names):
            name = (_ROLE.sub(r"\g<name>", written)).strip("`~! ")
            if _NAME.match(name):
                yield name, f"{name}: {said}".rstrip(": ")


def _referred(graph: Graph, subject: tuple[str, str], docstring: str, known: dict[str, str], document: str) -> None:
    for title, body in _sections(docstring):
        if title == "See Also":
            for name, said in _entries(body):
                _add(graph, subject, "see_also", (known_as(name, known), "name"), said, document)
    for block in _SEEALSO.finditer(docstring):
        for match in _ROLE.finditer(block["body"]):
            _add(graph, subject, "see_also", (known_as(match["name"], known), "name"), block["body"].strip(), document)


def _imported(tree: ast.Module, module: str) -> dict[str, str]:
    """Name in this module → full name, of what it imports at its top."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (origin := _origin(node, module)):
            found |= {alias.asname or alias.name: f"{origin}.{alias.name}" for alias in node.names if alias.name != "*"}
        elif isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return found


def _origin(node: ast.ImportFrom, module: str) -> str:
    """The full name of what is imported from; relative names are counted from the module's package."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")[: -node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def known_as(written: str, known: dict[str, str]) -> str:
    """The full name of a name as a module writes it."""
    first, dot, rest = written.partition(".")
    return f"{known.get(first, first)}{dot}{rest}"


def _dotted(node: ast.expr) -> str:
    """`a.b.C` of a name; '' of anything else. A generic's arguments are left out."""
    if isinstance(node, ast.Subscript):
        return _dotted(node.value)
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""
