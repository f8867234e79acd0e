"""What every command says and how: text or JSON, times, the settings read when they are needed."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def read_settings() -> "Settings":
    """The settings of this process; imported now, so that `--help` pays nothing for them."""
    from components.settings import load_settings

    return load_settings()


def say(as_json: bool, facts: dict[str, Any], *lines: str) -> None:
    """Print the facts as one JSON object, or the lines."""
    print(json.dumps(facts, ensure_ascii=False) if as_json else "\n".join(lines), flush=True)


def read_time(text: str) -> datetime:
    """An ISO 8601 time, local unless it names a zone. Raises UsageError."""
    from components.errors import UsageError

    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as err:
        raise UsageError(f"{text!r} is no time", "for example: 2026-11-22T14:30, or 2026-11-22T13:30Z") from err


def moment(at: float) -> str:
    """Seconds since the epoch as local time, to the second."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
