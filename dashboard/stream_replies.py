"""What the gateway tells while it is written: text piece by piece, then the answer or the turn as `records`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dashboard.records import Answered, Cited, Turn
from dashboard.replies import Refused, answered_of


def told_of(last: Mapping[str, Any], output: str, table: str, question: str) -> Answered:
    """The answer, of a stream's last event and the text before it."""
    reply = {"request_id": last["id"], "output": output, "receipt": last["receipt"]}
    return answered_of(reply, table, question)


def turn_of(last: Mapping[str, Any], output: str, table: str, question: str) -> Turn:
    cited = tuple(
        Cited(row["number"], row["document"], row["sentence"], row["heading"], row["verbatim"])
        for row in last.get("citations") or ()
    )
    shown = tuple(
        Cited(row["number"], row["document"], row["text"], row["heading"]) for row in last.get("retrieved") or ()
    )
    return Turn(question, told_of(last, output, table, question), cited, shown)


def pieces_of(stream: Iterable[bytes]) -> Iterator[str | Mapping[str, Any]]:
    """Of a stream of events: the text piece by piece, then the event with the receipt.

    Raises:
        Refused: the gateway says in the stream that it failed, or the text ended before it was whole.
    """
    is_whole = False
    for content in events_of(stream):
        if "error" in content:
            raise Refused(503, str(content["error"].get("message")), str(content["error"].get("remedy") or ""))
        for choice in content.get("choices", ()):
            if said := choice.get("text") or (choice.get("delta") or {}).get("content"):
                yield str(said)
        if "receipt" in content:
            is_whole = all(choice["finish_reason"] != "cancelled" for choice in content["choices"])
            if is_whole:
                yield content
    if not is_whole:
        raise Refused(503, "the answer ended before it was whole", "ask again")


def events_of(stream: Iterable[bytes]) -> Iterator[Any]:
    """What each event holds. Cut at line feeds alone: a text may have U+2028 in it, which Python takes for one too."""
    rest = b""
    for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                yield json.loads(line.removeprefix(b"data: "))
