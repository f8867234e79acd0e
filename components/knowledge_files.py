"""Documents into a knowledge graph, and a graph into files that other programs read: GraphML and JSON-LD."""

import ast
import json
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from components import assets
from components.errors import InputFileError, MappingError
from components.knowledge import RELATIONS, Entity, Graph, Relation, merge
from components.knowledge_code import from_module
from components.knowledge_text import from_text
from components.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

_TESTS = re.compile(r"(^|/)(tests?|testing|locale|_?vendor|externals?)/|(^|/)(test_[^/]*|conftest)\.py$")
PROSE = (".txt", ".md", ".rst")
TERMS = "urn:banyan:knowledge#"
ENTITY = "urn:banyan:entity:"

_CONTEXT: dict[str, Any] = {
    "@vocab": TERMS,
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "name": "http://schema.org/name",
    "documents": {"@id": "http://schema.org/subjectOf", "@container": "@set"},
    "subject": {"@id": "rdf:subject", "@type": "@id"},
    "predicate": {"@id": "rdf:predicate", "@type": "@vocab"},
    "object": {"@id": "rdf:object", "@type": "@id"},
    **{name: {"@id": f"{TERMS}{name}", "@type": "@id", "@container": "@set"} for name in RELATIONS},
}


# ---------------------------------------------------------------- documents


def from_package(name: str, *, settings: Settings) -> Graph:
    """The graph of a pinned package: its modules' syntax trees and the prose of their docstrings.

    Raises:
        AssetError: as `assets.fetch`.
    """
    asset = assets.get_asset(name)
    folder = assets.unpack(name, settings=settings)
    root = Path(asset.path).name
    relative = [path.relative_to(folder) for path in sorted(folder.rglob("*.py"))]
    theirs = [path for path in relative if not _TESTS.search(path.as_posix())]
    return merge(_of_python(folder / path, path, root, f"{name}/{path.as_posix()}") for path in theirs)


def from_path(path: Path) -> Graph:
    """The graph of a file or of a folder's files: Python, and plain text as .txt, .md and .rst.

    Raises:
        InputFileError: there is no such path, or nothing in it that can be read.
    """
    if not path.exists():
        raise InputFileError(f"there is no {path}", "name a file or a folder")
    kinds = (".py", *PROSE)
    paths = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in kinds and p.is_file())
    base = path.parent if path.is_file() else path
    graphs = []
    for one in paths:
        document = one.relative_to(base).as_posix()
        if one.suffix == ".py":
            graphs.append(_of_python(one, one.relative_to(base), "", document))
        else:
            graphs.append(from_text(one.read_text("utf-8", "replace"), document=document))
    if not graphs:
        raise InputFileError(f"{path} holds no document that is read", f"these are: {', '.join(kinds)}")
    return merge(graphs)


def from_rows(rows: "pd.DataFrame") -> Graph:
    """The graph of a table's texts; a row's document is its group, the file it came from. Of Python's files (in a
    corpus) the syntax tree speaks too."""
    groups = rows["group"].where(rows["group"] != "", rows["id"])
    return merge(_of_row(text, group) for text, group in zip(rows["text"], groups, strict=True))


def _of_row(text: str, document: str) -> Graph:
    if (
        document.endswith(".py")
        and (code := _of_code(text, document.removesuffix(".py").split("/"), document)).entities
    ):
        return code
    return from_text(text, document=document)


def _of_python(path: Path, relative: Path, root: str, document: str) -> Graph:
    code = path.read_text("utf-8", "replace")
    return _of_code(code, [root, *relative.with_suffix("").parts], document)


def _of_code(code: str, parts: Sequence[str], document: str) -> Graph:
    module = ".".join(filter(None, parts)).removesuffix(".__init__")
    return merge([from_module(code, module=module, document=document), *_prose(code, document)])


def _prose(code: str, document: str) -> Iterator[Graph]:
    """Of docstrings the first paragraph, of the module's own all: what follows is mostly lists and examples."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node) or ""
            yield from_text(said if isinstance(node, ast.Module) else said.partition("\n\n")[0], document=document)


# ---------------------------------------------------------------- files


def to_graphml(graph: Graph) -> str:
    """GraphML (Brandes et al. 2002): a directed multigraph; nodes with name, kind and documents, edges with type,
    sentence and document."""
    top = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    for where, names in (("node", ("name", "kind", "documents")), ("edge", ("type", "sentence", "document"))):
        for name in names:
            attributes = {"id": name, "for": where, "attr.name": name, "attr.type": "string"}
            ElementTree.SubElement(top, "key", attributes)
    body = ElementTree.SubElement(top, "graph", id="knowledge", edgedefault="directed")
    for key in sorted(graph.entities):
        entity = graph.entities[key]
        node = ElementTree.SubElement(body, "node", id=key)
        _data(node, name=entity.name, kind=entity.kind, documents="\n".join(sorted(entity.documents)))
    for number, relation in enumerate(sorted(graph.relations)):
        edge = ElementTree.SubElement(body, "edge", id=f"e{number}", source=relation.subject, target=relation.object)
        _data(edge, type=relation.type, sentence=relation.sentence, document=relation.document)
    ElementTree.indent(top, " ")
    return ElementTree.tostring(top, "unicode", xml_declaration=True) + "\n"


def _data(parent: ElementTree.Element, **values: str) -> None:
    for key, value in values.items():
        ElementTree.SubElement(parent, "data", key=key).text = value


def to_jsonld(graph: Graph) -> str:
    """JSON-LD 1.1 (W3C 2020): a node an entity with its relations as properties, and a reified `rdf:Statement` a
    relation, which says what supports it."""
    outgoing: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for relation in graph.relations:
        outgoing[relation.subject][relation.type].add(relation.object)
    nodes: list[dict[str, Any]] = []
    for key in sorted(graph.entities):
        entity = graph.entities[key]
        node: dict[str, Any] = {"@id": _urn(key), "@type": entity.kind, "name": entity.name}
        node["documents"] = sorted(entity.documents)
        node |= {kind: [_urn(other) for other in sorted(others)] for kind, others in sorted(outgoing[key].items())}
        nodes.append(node)
    for relation in sorted(graph.relations):
        ends = {"subject": _urn(relation.subject), "predicate": relation.type, "object": _urn(relation.object)}
        nodes.append({"@type": "rdf:Statement", **ends, "sentence": relation.sentence, "document": relation.document})
    return json.dumps({"@context": _CONTEXT, "@graph": nodes}, ensure_ascii=False, indent=1) + "\n"


def read_jsonld(text: str) -> Graph:
    """The graph that `to_jsonld` wrote.

    Raises:
        InputFileError: it is no such document.
    """
    graph = Graph()
    try:
        for node in json.loads(text)["@graph"]:
            if node["@type"] == "rdf:Statement":
                ends = [unquote(node[end].removeprefix(ENTITY)) for end in ("subject", "object")]
                RELATIONS[node["predicate"]]
                graph.relations.add(Relation(ends[0], node["predicate"], ends[1], node["sentence"], node["document"]))
            else:
                key = unquote(node["@id"].removeprefix(ENTITY))
                graph.entities[key] = Entity(key, node["name"], node["@type"], frozenset(node["documents"]))
    except (ValueError, KeyError, TypeError) as err:
        raise InputFileError(f"this is no knowledge graph of ours: {err!r}", "build it: banyan graph build") from err
    return graph


def _urn(key: str) -> str:
    return ENTITY + quote(key, safe="")


FORMATS: dict[str, Callable[[Graph], str]] = {"graphml": to_graphml, "jsonld": to_jsonld}


# ---------------------------------------------------------------- the workspace's graphs


def graph_path(name: str, *, settings: Settings) -> Path:
    """Where a graph of that name lies."""
    return settings.workspace.root / "graphs" / f"{name}.jsonld"


def save(graph: Graph, name: str, *, settings: Settings) -> Path:
    """Keep a graph under a name, replacing the one there was."""
    path = graph_path(name, settings=settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(to_jsonld(graph), "utf-8")
    beside.replace(path)
    return path


def load(name: str, *, settings: Settings) -> Graph:
    """The graph of that name.

    Raises:
        MappingError: there is none.
        InputFileError: it is damaged.
    """
    path = graph_path(name, settings=settings)
    if not path.is_file():
        there = ", ".join(sorted(one.stem for one in path.parent.glob("*.jsonld"))) or "none"
        raise MappingError(f"there is no graph {name!r}; there are: {there}", "build it: banyan graph build")
    return read_jsonld(path.read_text("utf-8"))
