"""`banyan search` and `banyan chat`: what the workspace's own documents say."""

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from components.errors import NoChampion, UsageError
from flows.console import Json, read_settings, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from components.knowledge import Graph
    from components.settings import Settings

app = typer.Typer(no_args_is_help=True)

Tables = Annotated[
    list[str] | None, typer.Option("--table", help="Look in this table (default: all plain texts; may be repeated).")
]
GraphName = Annotated[str, typer.Option("--graph", help="A knowledge graph that helps: banyan graph build.")]


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    table: Tables = None,
    graph: GraphName = "",
    most: Annotated[int, typer.Option("--most", min=1, max=40, help="How many passages.")] = 5,
    meaning: Annotated[
        bool, typer.Option("--meaning", help="Order them by sentence embeddings too (the asset minilm).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find passages in the workspace's documents, with the sentence that fits best.

    With --graph, what the query names helps, and related documents are listed.
    """
    from components import assets
    from components.retrieval.index import index_of
    from components.retrieval.ranking import cite_each, minilm, retrieve, see_also

    settings = read_settings()
    if not query.strip():
        _refuse("the query is empty", "say what to look for")
    known = _graph(graph, settings)
    index = index_of(settings, tables=tuple(table or ()))
    embed = minilm(assets.weights("minilm", settings=settings)) if meaning else None
    found = retrieve(index, query, most=2 * most, graph=known, embed=embed)
    rows: list[dict[str, Any]] = []
    for one, place in cite_each(found, query, most=most):
        rows.append({"document": place.document, "heading": one.passage.heading, "sentence": place.sentence,
                     "start": place.start, "source": place.source, "licence": place.licence,
                     "text": one.passage.text})  # fmt: skip
    documents = list(dict.fromkeys(row["document"] for row in rows))
    near = see_also(known, documents) if known else []
    lines = []
    for row in rows:
        where = ", ".join(filter(None, (row["document"], row["heading"])))
        lines.append(f"{where} at {row['start']}\n    {' '.join(row['sentence'].split())[:200]}")
    lines += [f"see also: {other} ({', '.join(shared[:3])})" for other, _, shared in near]
    related = [{"document": other, "score": score, "shared": shared} for other, score, shared in near]
    say(as_json, {"query": query, "found": rows, "related": related}, *(lines or ["nothing was found"]))


def _refuse(message: str, remedy: str) -> NoReturn:
    raise UsageError(message, remedy)


def _graph(name: str, settings: "Settings") -> "Graph | None":
    from components.knowledge_files import load

    return load(name, settings=settings) if name else None


# ---------------------------------------------------------------- chat


@app.command()
def chat(
    table: Annotated[
        str, typer.Argument(help="A table of task dialogue or question_answering (default: one that serves).")
    ] = "",
    text: Annotated[list[str] | None, typer.Option("--say", help="A turn (repeat for more); then end.")] = None,
    passages: Annotated[int, typer.Option("--passages", min=0, max=12, help="To retrieve for each turn.")] = 4,
    graph: GraphName = "",
    subject: Annotated[str, typer.Option("--subject", help="Who asks; kept as a pseudonym only.")] = "",
    as_json: Json = False,
) -> None:
    """Talk with the workspace's documents; answers cite what they are taken from.

    Each turn can be rated: /good, /bad, /right ANSWER. Also: /new, /quit.
    """
    import sys

    from flows import gateway

    settings = read_settings()
    talk = Talk(table or _talker(settings), passages=passages, graph=graph, subject=subject, settings=settings)
    if not text and sys.stdin.isatty():
        print(f"{talk.table}: ask; /good, /bad or /right ANSWER rate the last answer; /new begins anew; /quit ends.")
    for line in text or _typed():
        if line.strip() == "/quit":
            break
        if line.strip():
            body, lines = talk.take(line.strip())
            if "id" in body:
                gateway.remember(body["id"], settings=settings)
            say(as_json, body, *lines)


class Talk:
    """One conversation through the gateway: what was said so far, and the last answer, which can be rated."""

    def __init__(self, table: str, *, passages: int, graph: str, subject: str, settings: "Settings") -> None:
        self.table, self.settings = table, settings
        more = {"retrieve": passages or None, "graph": graph or None, "user": subject or None}
        self._more = {name: value for name, value in more.items() if value is not None}
        self._said: list[dict[str, str]] = []
        self._last = ""

    def take(self, line: str) -> tuple[dict[str, Any], list[str]]:
        """What comes of a line that was typed: the gateway's reply, and the same for people.

        Raises:
            UsageError: a command that there is not, or nothing to rate yet; and as `gateway.chat`.
        """
        from flows import gateway

        word, _, rest = line.partition(" ")
        if word == "/new":
            self._said.clear()
            return {"new": True}, ["A new conversation."]
        kinds = {"/good": "approve", "/bad": "reject", "/right": "correct"}
        if word in kinds:
            if not self._last:
                raise UsageError("there is no answer to rate yet", "ask something first")
            opinion = {"request_id": self._last, "kind": kinds[word]} | ({"correction": rest} if rest else {})
            sent = gateway.rate(opinion, settings=self.settings)
            return sent, [f"Thank you: banyan fate {sent['feedback_id']}"]
        if word.startswith("/"):
            raise UsageError(f"there is no {word}", "there are /good, /bad, /right ANSWER, /new and /quit")
        asked = [*self._said, {"role": "user", "content": line}]
        body = gateway.chat({"model": self.table, "messages": asked, **self._more}, settings=self.settings)
        answer = body["choices"][0]["message"]["content"]
        self._last = body["id"]
        # an answer without a word cannot be sent back as a turn: the question then stands alone
        self._said = [*asked, {"role": "assistant", "content": answer}] if answer.strip() else self._said
        lines = [answer or "(nothing)"]
        lines += [_cited(one) for one in body.get("citations", ())]
        lines += [f"  see also: {one['document']}" for one in body.get("related", ())[:3]]
        return body, lines


def _cited(one: dict[str, Any]) -> str:
    where = one["document"] + (f", {one['heading']}" if one["heading"] else "")
    hint = "" if one["verbatim"] else " (does not say so word for word)"
    return f"  [{one['number']}] {where}: “{' '.join(one['sentence'].split())[:160]}”{hint}"


def _typed() -> "Iterator[str]":
    import sys

    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def _talker(settings: "Settings") -> str:
    from flows import gateway

    seats = gateway.models(settings)
    served: dict[str, str] = {one["table"]: one.get("task", "") for one in seats}
    for task in ("dialogue", "question_answering"):
        for table, its in served.items():
            if its == task:
                return table
    if coming := [f"{one['table']} v{one['wanted_version']}" for one in seats if one["state"] == "loading"]:
        raise NoChampion(f"nobody converses yet; {', '.join(coming)} is being loaded", "try again in a few seconds")
    raise NoChampion("nobody converses yet", "train one: banyan ingest --recipe dialogue-data, banyan train dialogue")
