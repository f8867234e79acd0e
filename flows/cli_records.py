"""`banyan receipt`, `fate`, `journal`, `who-served`: what the ledger knows, with the stack up or down."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.errors import BanyanError, UsageError
from flows.console import Json, moment, read_settings, read_time, say

if TYPE_CHECKING:
    from components.ledger.schema import Fate, JournalEntry
    from components.lineage import Lineage
    from components.settings import Settings

app = typer.Typer(no_args_is_help=True)
journal_app = typer.Typer(no_args_is_help=True, help="Show or verify the chain of alias moves.")
app.add_typer(journal_app, name="journal")


@app.command()
def receipt(
    request: Annotated[str, typer.Argument(help="The request id in an answer's receipt, or `last`.")],
    replay: Annotated[bool, typer.Option("--replay", help="Answer it again, alone, and compare.")] = False,
    as_json: Json = False,
) -> None:
    """Follow an answer back to its model and its data.

    With --replay the exit code is 1 if the answer comes out different.
    """
    from components import lineage
    from flows.gateway import last_request

    settings = read_settings()
    request_id = last_request(settings) if request == "last" else request
    with _ledger(settings) as ledger:
        found = lineage.trace(request_id, settings=settings, ledger=ledger)
        again = lineage.replay(found.answer, settings=settings, ledger=ledger) if replay else None
    facts = found.as_dict() | ({"replay": asdict(again)} if again else {})
    lines = _lineage_lines(found)
    if again:
        lines.append(f"replay   {again.verdict}" + (f": {again.after!r}" if again.verdict == "different" else ""))
        lines += [f"         {one}" for one in again.differences]
    say(as_json, facts, *lines)
    raise typer.Exit(1 if again and again.verdict == "different" else 0)


@app.command()
def fate(feedback: Annotated[str, typer.Argument(help="A feedback id.")], as_json: Json = False) -> None:
    """Say what became of a feedback row."""
    from flows.gateway import history_lines

    history = _history(feedback)
    found = {"feedback_id": feedback, "fate": history[-1].fate, "history": [asdict(step) for step in history]}
    say(as_json, found, *history_lines(found))


@app.command()
def mine(
    an_id: Annotated[str, typer.Argument(metavar="ID", help="A feedback id, or a request id from a receipt.")],
    as_json: Json = False,
) -> None:
    """Say what became of all that one person said.

    Found by an id that this person holds; of nobody else is anything shown.
    """
    from components.feedback.mine import mine as find
    from flows.gateway import history_lines

    with _ledger(read_settings()) as ledger:
        found = find(ledger, an_id) or _nothing(an_id)
    lines = []
    for one in found:
        row = one.feedback
        lines.append(f"{row.feedback_id}  {row.kind} of {row.output!r} to: {' '.join(row.text.split())[:60]}")
        lines += [f"    {line}" for line in history_lines({"history": [asdict(step) for step in one.way]})]
    say(
        as_json,
        {"feedback": [asdict(one.feedback) | {"history": [asdict(step) for step in one.way]} for one in found]},
        *lines,
    )


@app.command()
def who_served(
    table: Annotated[str, typer.Argument(help="The table.")],
    at: Annotated[str, typer.Option("--at", help="ISO 8601, local time unless it names a zone (default: now).")] = "",
    as_json: Json = False,
) -> None:
    """Say which version was champion at a time."""
    from components.ledger.journal import Journal

    settings = read_settings()
    when = read_time(at) if at else datetime.now().astimezone()
    name = f"banyan-{table}"
    with _ledger(settings) as ledger:
        entry = Journal(ledger, settings.workspace).who_served(name, at=when.timestamp())
    facts = {"table": table, "at": when.timestamp(), "version": None}
    if entry is None:
        say(as_json, facts, f"Nobody served {table} at {moment(when.timestamp())}.")
        return
    facts |= {"version": entry.to_version, "weights_sha256": entry.weights_sha256, "since": entry.at}
    say(
        as_json,
        facts | {"actor": entry.actor, "action": entry.action},
        f"{name} v{entry.to_version} served {table} at {moment(when.timestamp())}, weights {entry.weights_sha256[:12]}",
        f"since {moment(entry.at)}, by {entry.actor} ({entry.action})",
    )


@journal_app.command("log")
def journal_log(
    table: Annotated[str | None, typer.Argument(help="Only this table's moves.")] = None, as_json: Json = False
) -> None:
    """List the alias moves, oldest first."""
    with _ledger(read_settings()) as ledger:
        entries = ledger.journal(f"banyan-{table}" if table else None)
    lines = [_move_line(entry) for entry in entries] or ["No alias was moved yet."]
    say(as_json, {"entries": [asdict(entry) for entry in entries]}, *lines)


@journal_app.command("verify")
def journal_verify(as_json: Json = False) -> None:
    """Check that no entry was changed, removed, reordered or cut off.

    While MLflow can be read, also that its aliases stand where the journal says. Exit code 1 when something is wrong.
    """
    from components.ledger.journal import Journal
    from components.lineage import registry_url
    from components.registry import Registry

    settings = read_settings()
    with _ledger(settings) as ledger:
        journal = Journal(ledger, settings.workspace)
        aliases = "checked"
        try:
            health = journal.verify(Registry(registry_url(settings)))
        except BanyanError as err:
            health, aliases = journal.verify(), f"not checked: {err.message}"
    facts = {"ok": health.ok, "entries": health.num_entries, "head": health.head, "aliases": aliases}
    lines = [f"wrong: {problem}" for problem in health.problems]
    if health.ok:
        lines = [f"{health.num_entries} entries, each following the one before; head {health.head[:12]}"]
    say(as_json, facts | {"problems": list(health.problems)}, *lines, f"MLflow's aliases: {aliases}")
    raise typer.Exit(0 if health.ok else 1)


@journal_app.command("accept")
def journal_accept(
    why: Annotated[str, typer.Option("--why", help="Kept with it, among the operators' actions.")],
    as_json: Json = False,
) -> None:
    """Take what the ledger says now for the whole journal, where its head file is lost.

    What was cut off before does not show afterwards: look at `banyan journal log` first.
    """
    from components.ledger.actions import at_this_machine, perform
    from components.ledger.journal import Journal

    settings = read_settings()
    reason = _reason(why)
    with _ledger(settings) as ledger:
        journal = Journal(ledger, settings.workspace)
        head = perform("accept-journal", subject=reason, actor=at_this_machine(), ledger=ledger, do=journal.accept)
    say(as_json, {"head": head}, f"The journal's head is {head[:12]} now.", "See: banyan journal verify")


# ---------------------------------------------------------------- shared


def _ledger(settings: "Settings") -> Any:
    """The ledger, which is not made just to be found empty."""
    from components.ledger.store import Ledger

    if settings.ledger_url is None and not settings.workspace.ledger.is_file():
        raise UsageError(f"there is no ledger in {settings.workspace.root}", "first: banyan ask TABLE TEXT")
    return Ledger(settings)


def _reason(why: str) -> str:
    if not why.strip():
        raise UsageError("an acceptance without a reason tells nobody anything", "--why TEXT")
    return why.strip()


def _nothing(an_id: str) -> Any:
    raise UsageError(f"nothing was said under {an_id!r}", "`banyan rate` prints the feedback's id")


def _history(feedback: str) -> "list[Fate]":
    with _ledger(read_settings()) as ledger:
        history: list[Fate] = ledger.fate_of(feedback)
    if not history:
        raise UsageError(f"there is no feedback {feedback!r}", "`banyan rate` prints its id")
    return history


def _move_line(entry: "JournalEntry") -> str:
    before = f"v{entry.from_version}" if entry.from_version is not None else "none"
    move = f"{entry.name} {entry.alias} {before} → v{entry.to_version}"
    why = f"; {entry.note}" if entry.note else ""
    return f"{entry.sequence:>4}  {moment(entry.at)}  {entry.state:<9} {entry.action:<8} {move}, by {entry.actor}{why}"


def _plain(value: object) -> str:
    """A value of how an answer was made, what is nested in brackets."""
    if not isinstance(value, dict):
        return str(value)
    return f"({', '.join(f'{name} {_plain(inner)}' for name, inner in value.items())})"


def _lineage_lines(found: "Lineage") -> list[str]:
    answer, model, data = found.answer, found.model, found.data
    how = ", ".join(f"{name} {_plain(value)}" for name, value in sorted(answer.generation.items()))
    ended = f" ({answer.finish_reason})" if answer.finish_reason else ""
    lines = [
        f"answer   {answer.request_id} of {moment(answer.at)}: {answer.output!r}{ended}",
        f"model    {answer.model_name} v{answer.model_version}, weights {answer.weights_sha256[:12]}, "
        f"template {answer.template_sha256[:12]}",
        f"         {how}",
    ]
    if model:
        lines.append(f"         task {model.task}, registered {moment(model.created_at)}, run {model.ref.run_id}")
    if found.lock is not None:
        commit = f", commit {found.lock['revision'][:12]}" if found.lock.get("revision") else ""
        lines.append(
            f"lock     {str(found.lock.get('key', ''))[:12]}: recipe {str(found.lock.get('recipe', ''))[:12]}, "
            f"code {str(found.lock.get('code', ''))[:12]}, seed {found.lock.get('seed')}{commit}"
        )
    if data:
        lines.append(f"data     {data.ref.version} of {moment(data.created_at.timestamp())}, recipe {data.name}")
        for table, digest in sorted(found.tables.items()):
            split = data.rows.get(table, {}).get("train")
            sources = ", ".join(f"{name} {rows}" for name, rows in sorted(split.sources.items())) if split else ""
            lines.append(f"         table {table} {digest[:12]}" + (f": {sources}" if sources else ""))
    return [*lines, *(f"missing  {one}" for one in found.missing)]
