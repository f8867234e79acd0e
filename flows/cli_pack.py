"""`banyan data pack`: a corpus of any size from raw documents to packed tokens that a pretraining maps into memory."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.errors import UsageError
from flows.console import Json, read_settings, say

if TYPE_CHECKING:
    from components.data.engine.run import Report
    from components.recipes import Pack


def pack(
    what: Annotated[list[str], typer.Argument(help="A recipe of kind pack; or files, folders, globs or addresses.")],
    name: Annotated[str | None, typer.Option("--name", help="Of the packed corpus.")] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option("--vocab-size", help="Entries of the tokenizer to be trained [4096 where none is given]."),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="A folder with a tokenizer.json instead.")
    ] = None,
    language: Annotated[list[str] | None, typer.Option("--language", help="Keep only this one (repeatable).")] = None,
    gopher: Annotated[
        bool, typer.Option("--gopher", help="Filter by Gopher's rules of quality and repetition.")
    ] = False,
    c4: Annotated[bool, typer.Option("--c4", help="Filter by C4's rules.")] = False,
    memory_mb: Annotated[int, typer.Option("--memory-mb", min=512, help="What all processes may hold, about.")] = 1024,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes [one a core].")] = None,
    as_json: Json = False,
) -> None:
    """Make packed tokens of raw documents, from a folder or a cluster's worth of them.

    Killed, it goes on where it was when it is called again. With BANYAN_RAY_ADDRESS it runs on that Ray cluster.
    """
    from components.data.engine.run import Resources, pack_corpus
    from components.data.packed_versions import commit_packed, is_kept

    settings = read_settings()
    recipe = _recipe(what, name, vocab_size, tokenizer, language, gopher=gopher, c4=c4)
    report = pack_corpus(
        recipe,
        folder=settings.workspace.packed / recipe.name,
        resources=Resources(memory_mb, workers, settings.ray_address),
        progress=None if as_json else lambda line: print(line, flush=True),
        cache=settings.workspace.inputs,
        may_replace=lambda there: is_kept(there, settings=settings),  # as a version it can be had again
    )
    version = commit_packed(report.folder, settings=settings, recipe=recipe).version
    say(as_json, {**_facts(report), "version": version}, *_lines(report, recipe.name, version))


def _recipe(
    what: list[str],
    name: str | None,
    vocab_size: int | None,
    tokenizer: Path | None,
    language: list[str] | None,
    *,
    gopher: bool,
    c4: bool,
) -> "Pack":
    from components.data.engine.inputs import is_address
    from components.recipes import Pack, load_recipe, parse_recipe

    if len(what) == 1 and what[0].endswith((".yaml", ".yml")):
        if any((name, vocab_size, tokenizer, language, gopher, c4)):
            raise UsageError("a recipe was given, and flags that stand in it", "write them into the recipe")
        recipe = load_recipe(Path(what[0]))
        if not isinstance(recipe, Pack):
            raise UsageError(f"{what[0]} is of kind {recipe.kind}", "give a recipe of kind pack")
        return recipe
    rules = {"languages": language or (), "gopher": gopher, "gopher_repetition": gopher, "c4": c4}
    found: Pack = parse_recipe(
        {
            "kind": "pack",
            "name": name or (Path(what[0]) if is_address(what[0]) else Path(what[0]).resolve()).stem,
            "inputs": what,
            "rules": rules,
            "tokenizer": tokenizer,
            "vocab_size": None if tokenizer else vocab_size or 4096,
        },
        origin="the command line",
    )
    return found


def _facts(report: "Report") -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(report), "folder": str(report.folder), "rows_rejected": report.rows_rejected}


def _lines(report: "Report", name: str, version: str) -> list[str]:
    seconds = sum(report.seconds.values())
    rate = f", {report.bytes_in / 1e6 / seconds:.1f} MB/s" if seconds else ""
    lines = [
        f"{report.rows_in:,} documents in ({report.bytes_in / 1e6:,.1f} MB): {report.rows_kept:,} kept, "
        f"{report.rows_rejected:,} rejected; {seconds:.0f} s{rate}"
    ]
    lines += [f"  rejected, {reason}: {number:,}" for reason, number in Counter(report.rejects).most_common()]
    for split, number in report.tokens.items():
        lines.append(f"  {split}: {number:,} tokens in {report.documents[split]:,} documents")
    if not report.tokens.get("heldout"):
        lines.append(
            "  nothing is held out to measure a training by: pack more documents, or by a recipe with heldout_share"
        )
    lines.append(f"It is in {report.folder}; of every document, why it is in or out: rows/ and rejects/ there.")
    lines.append(f"It is data version {version[:12]}.")
    lines.append(f"Next: banyan train RECIPE --set packed=data:{name}")
    return lines
