"""The command line's way to the gateway's HTTP API."""

from typing import Any

from components.errors import BanyanError, GatewayUnavailable, NoChampion, ServingError, UsageError
from components.settings import Settings

LAST = "last-request"
EXPLANATION_SECONDS = 600.0
"""Of a long text on a busy machine an explanation takes minutes."""

_BY_CODE: dict[str, type[BanyanError]] = {
    "no_champion": NoChampion,
    "unavailable": GatewayUnavailable,
    "ledger": GatewayUnavailable,
    "busy": GatewayUnavailable,
    "invalid": UsageError,
    "not_found": UsageError,
    "conflict": UsageError,
    "too_large": UsageError,
}


def ask(table: str, text: str, *, subject: str | None, settings: Settings) -> dict[str, Any]:
    """One answer with its receipt.

    Raises:
        NoChampion: nothing has passed the gate for this table.
        GatewayUnavailable: the gateway does not answer.
        UsageError: the text is empty or too long.
    """
    body = {"input": text} | ({"subject": subject} if subject else {})
    return _call("POST", f"/v1/tasks/{table}", body, settings)


def chat(body: dict[str, Any], *, settings: Settings) -> dict[str, Any]:
    """The next turn of a conversation, in OpenAI's shape, with what it cites. Raises as `ask` does."""
    return _call("POST", "/v1/chat/completions", body, settings)


def rate(opinion: dict[str, Any], *, settings: Settings) -> dict[str, Any]:
    """Hand in feedback; it is durable when this returns. Raises as `ask` does."""
    return _call("POST", "/v1/feedback", opinion, settings)


def fate(feedback_id: str, *, settings: Settings) -> dict[str, Any]:
    """What became of one feedback row. Raises UsageError for an id that nothing has."""
    return _call("GET", f"/v1/feedback/{feedback_id}", None, settings)


def models(settings: Settings) -> list[dict[str, Any]]:
    """Who answers for each table."""
    found: list[dict[str, Any]] = _call("GET", "/v1/models", None, settings)["models"]
    return found


def give_part(table: str, part: dict[str, Any], *, settings: Settings) -> dict[str, Any]:
    """Give a version its part of a table's traffic. Raises as `ask` does; UsageError also where it does not load."""
    return _call("PUT", f"/v1/traffic/{table}", part, settings)


def end_part(table: str, kind: str, *, actor: str, settings: Settings) -> dict[str, Any]:
    """Leave all to the champion again. Raises UsageError: there is no such part."""
    return _call("DELETE", f"/v1/traffic/{table}/{kind}?actor={actor}", None, settings)


def roll_back(table: str, back: dict[str, Any], *, settings: Settings) -> dict[str, Any]:
    """Serve an earlier champion again. Raises as `ask` does; UsageError: there is none to go back to."""
    return _call("POST", f"/v1/rollback/{table}", back, settings)


def parts(settings: Settings) -> list[dict[str, Any]]:
    """Who answers beside the champions."""
    found: list[dict[str, Any]] = _call("GET", "/v1/traffic", None, settings)["splits"]
    return found


def explain(request_id: str, *, settings: Settings) -> dict[str, Any]:
    """Why an answer was given. Raises as `ask` does; UsageError: there is no such answer, or its prompt is gone."""
    return _call("GET", f"/v1/explain/{request_id}", None, settings, timeout_seconds=EXPLANATION_SECONDS)


def history_lines(found: dict[str, Any]) -> list[str]:
    """A feedback row's way, one line a step."""
    from datetime import datetime

    lines = []
    for step in found["history"]:
        at = datetime.fromtimestamp(step["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        details = [step.get("reason") or ""]
        if step.get("data_version"):
            details.append(f"data {step['data_version'][:12]}")
        if step.get("model_name"):
            details.append(f"{step['model_name']} v{step['model_version']}")
        effect = step.get("effect") or {}
        if "is_given_again" in effect:
            details.append(f"asked again: {'the same' if effect['is_given_again'] else 'another'} answer")
        if effect.get("why"):
            details.append(f"who says: {effect['why']}")
        if "score_before" in effect:
            details.append(f"score {effect['score_before']:.2f} before, {effect['score_after']:.2f} after")
        lines.append(f"{at}  {step['fate']:<9} {', '.join(filter(None, details))}".rstrip())
    return lines


def remember(request_id: str, *, settings: Settings) -> None:
    """Keep the id of the last answer, for `banyan rate last`."""
    settings.workspace.root.mkdir(parents=True, exist_ok=True)
    (settings.workspace.root / LAST).write_text(request_id, "utf-8")


def last_request(settings: Settings) -> str:
    """The id of the last answer to `banyan ask` in this workspace.

    Raises:
        UsageError: nothing was asked yet.
    """
    try:
        return (settings.workspace.root / LAST).read_text("utf-8").strip()
    except FileNotFoundError as err:
        raise UsageError("nothing was asked in this workspace yet", "first: banyan ask TABLE TEXT") from err


def _call(
    method: str, path: str, body: dict[str, Any] | None, settings: Settings, *, timeout_seconds: float = 90
) -> dict[str, Any]:
    import httpx

    from components.supervisor import addresses

    url = addresses(settings).gateway
    key = settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        answer = httpx.request(method, url + path, json=body, headers=headers, timeout=timeout_seconds)
    except httpx.TransportError as err:
        raise GatewayUnavailable(f"the gateway does not answer at {url} ({err})", "see: banyan status") from err
    if answer.is_success:
        content: dict[str, Any] = answer.json()
        return content
    try:
        problem = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        problem = {"code": "", "message": f"the gateway answered {answer.status_code}", "remedy": ""}
    raise _BY_CODE.get(problem["code"], ServingError)(problem["message"], problem.get("remedy", ""))
