"""`banyan graph`: knowledge graphs of documents, tables and packages."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from components.errors import UsageError
from flows.console import Json, say

app = typer.Typer(no_args_is_help=True, help="Entities and relations of documents: build, export, find related ones.")

Name = Annotated[str, typer.Argument(help="The graph's name.")]


@app.command()
def build(
    name: Name,
    path: Annotated[list[Path] | None, typer.Option("--path", help="A file or folder: .py, .txt, .md, .rst.")] = None,
    asset: Annotated[list[str] | None, typer.Option("--asset", help="A pinned package, as networkx.")] = None,
    table: Annotated[list[str] | None, typer.Option("--table", help="A table of the current data version.")] = None,
    as_json: Json = False,
) -> None:
    """Build a graph from documents; what several of them say of one thing is merged."""
    from components.knowledge import counts, merge
    from components.knowledge_files import from_package, from_path, from_rows, save
    from components.settings import load_settings

    settings = load_settings()
    graphs = [from_path(one) for one in path or []]
    graphs += [from_package(one, settings=settings) for one in asset or []]
    for one in table or []:
        graphs.append(from_rows(_rows(one, settings)))
    if not graphs:
        _refuse("there is nothing to build from", "give --path, --asset or --table")
    graph = merge(graphs)
    kept = save(graph, name, settings=settings)
    number = {
        "entities": len(graph.entities),
        "relations": len(graph.relations),
        "documents": len(graph.documents()),
        "types": counts(graph),
    }
    types = ", ".join(f"{kind} {n}" for kind, n in counts(graph).items()) or "none"
    say(
        as_json,
        {"graph": name, "path": str(kept), **number},
        f"{name}: {number['entities']} entities in {number['documents']} documents, {number['relations']} relations",
        f"  {types}",
        f"Next: banyan graph export {name} --format graphml --out {name}.graphml",
    )


@app.command()
def export(
    name: Name,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    form: Annotated[str, typer.Option("--format", help="graphml or jsonld.")] = "graphml",
    as_json: Json = False,
) -> None:
    """Write a graph as GraphML or JSON-LD."""
    from components.knowledge_files import FORMATS, load
    from components.settings import load_settings

    if form not in FORMATS:
        _refuse(f"there is no format {form!r}", f"formats are: {', '.join(FORMATS)}")
    text = FORMATS[form](load(name, settings=load_settings()))
    out.write_text(text, "utf-8")
    say(as_json, {"graph": name, "format": form, "path": str(out), "bytes": len(text.encode())}, f"Written: {out}")


@app.command()
def show(
    name: Name,
    entity: Annotated[str, typer.Argument(help="An entity, in any spelling.")],
    as_json: Json = False,
) -> None:
    """Show what a graph says of an entity, with the sentences that support it."""
    from components.knowledge import entity_id
    from components.knowledge_files import load
    from components.settings import load_settings

    graph = load(name, settings=load_settings())
    if entity_id(entity) not in graph.entities:
        _refuse(f"{name} speaks of no {entity!r}", f"it has {len(graph.entities)} entities; try another name")
    found = graph.neighbours(entity)
    facts = [{"subject": r.subject, "type": r.type, "object": r.object, "sentence": r.sentence, "document": r.document}
             for r in found]  # fmt: skip
    lines = [f"{r.subject} —{r.type}→ {r.object}\n    “{r.sentence[:160]}” ({r.document})" for r in found]
    say(as_json, {"graph": name, "entity": entity_id(entity), "relations": facts}, *(lines or ["no relations"]))


@app.command()
def related(
    name: Name,
    document: Annotated[str, typer.Argument(help="A document of the graph.")],
    most: Annotated[int, typer.Option("--most", min=1, help="How many.")] = 10,
    as_json: Json = False,
) -> None:
    """List the documents that speak of the same rare entities."""
    from components.knowledge import related as related_documents
    from components.knowledge_files import load
    from components.settings import load_settings

    graph = load(name, settings=load_settings())
    if document not in (there := graph.documents()):
        _refuse(f"{name} has no document {document!r}", f"it has {len(there)}, as {', '.join(there[:3])}")
    found = related_documents(graph, document, most=most)
    facts = [{"document": other, "score": score, "shared": shared} for other, score, shared in found]
    lines = [f"{score:.2f}  {other}  ({', '.join(shared[:3])})" for other, score, shared in found]
    say(as_json, {"graph": name, "document": document, "related": facts}, *(lines or ["none shares an entity"]))


def _refuse(message: str, remedy: str) -> NoReturn:
    raise UsageError(message, remedy)


def _rows(table: str, settings: Any) -> Any:
    import pandas as pd

    from components.data import versioning
    from components.data.manifests import head
    from components.data.tables import read_split, split_names

    ref = head(settings)
    if ref is None:
        _refuse("there is no data version yet", "make one: banyan ingest")
    folder = versioning.path_of(ref, settings)
    return pd.concat([read_split(folder, table, split) for split in split_names(folder, table)], ignore_index=True)
