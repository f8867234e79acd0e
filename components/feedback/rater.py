"""The scripted rater: replays held-back labelled rows through the gateway, and rates the answers.

It stands in for people where there are none yet, says so in every row (`subject` and `channel` are
"scripted-rater"), and is wrong sometimes, as people are. What it asks, what it believes and whether it
speaks depend on the seed and the row alone: not on the answers, their order or their timing.
"""

import hashlib
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pandas as pd
from pydantic import BaseModel, ConfigDict

from components.data import versioning
from components.data.tables import read_split, table_info, target_column
from components.errors import DataError, GatewayUnavailable, NoChampion, ServingError
from components.recipes import Rater
from components.settings import Settings

NAME = "scripted-rater"
CONCURRENCY = 8
PATIENCE_SECONDS = 60.0
"""How long one request is tried again while the gateway is busy, restarting or swapping models."""

_NAMESPACE = uuid.UUID("6f0f2c0e-6a0b-5d0e-9a55-2f4b1b1f7a10")

Progress = Callable[[int, int], None]
"""Called with how many rows are done, and of how many."""


class RaterReport(BaseModel):
    """What the scripted rater did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_version: str
    num_requests: int
    num_right: int
    """Answers that equal the row's own label, over all requests."""
    num_silent: int
    num_approved: int
    num_corrected: int
    num_wrong: int
    """Rows on which the rater itself was wrong, on purpose; among the approved and the corrected."""
    num_already_rated: int
    """Rows whose feedback the ledger had from an earlier run with the same seed; not asked again."""
    versions: dict[int, int]
    """Model version → how many of the requests it answered."""
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What the rater will do with one row."""

    feedback_id: str
    text: str
    truth: str
    belief: str
    """What the rater takes for the right answer."""
    speaks: bool


@dataclass(frozen=True)
class Outcome:
    """What happened to one row."""

    kind: Literal["silent", "approve", "correct", "already"]
    version: int = 0
    """Of the model that answered; 0 where nothing was asked."""
    is_right: bool = False
    is_rater_wrong: bool = False


def plan(recipe: Rater, rows: pd.DataFrame, *, target: str) -> list[Plan]:
    """What the rater does with which rows, in the order in which it asks.

    Args:
        rows: columns `id`, `text` and `target`.
    """
    answers = sorted(rows[target].unique())
    chosen = rows.sort_values("id").sample(frac=1.0, random_state=recipe.seed).head(recipe.num_requests)
    plans = []
    for row_id, text, truth in zip(chosen["id"], chosen["text"], chosen[target], strict=True):
        draws = random.Random(hashlib.sha256(f"{recipe.seed}:{recipe.table}:{row_id}".encode()).digest())
        speaks = draws.random() >= recipe.silent_share
        others = [answer for answer in answers if answer != truth]
        is_wrong = draws.random() < recipe.wrong_share and bool(others)
        belief = draws.choice(others) if is_wrong else truth
        feedback_id = str(uuid.uuid5(_NAMESPACE, f"{recipe.seed}:{recipe.table}:{row_id}"))
        plans.append(Plan(feedback_id, text, truth, belief, speaks))
    return plans


def rate(recipe: Rater, *, settings: Settings, gateway_url: str, progress: Progress | None = None) -> RaterReport:
    """Replay `recipe.split` of the newest data version and rate the answers.

    Running it again sends nothing twice: a row that was rated under this seed is left alone.

    Raises:
        DataError: there is no data version, or the split is empty.
        NoChampion: nothing answers for the table.
        GatewayUnavailable: the gateway stayed away for longer than a minute.
    """
    started = time.monotonic()
    ref = versioning.head(settings)
    if ref is None:
        raise DataError("there is no data version to replay", "banyan ingest")
    version_dir = versioning.path_of(ref, settings)
    target = target_column(table_info(version_dir, recipe.table).task)
    rows = read_split(version_dir, recipe.table, recipe.split)
    if rows.empty:
        raise DataError(f"{recipe.table} has no rows in split {recipe.split!r}", "name a split that has rows")
    key = settings.api_key.get_secret_value() if settings.api_key else None
    outcomes = replay(
        plan(recipe, rows, target=target), table=recipe.table, gateway_url=gateway_url, api_key=key, progress=progress
    )
    return _report(outcomes, data_version=ref.version, seconds=time.monotonic() - started)


def replay(
    plans: Sequence[Plan], *, table: str, gateway_url: str, api_key: str | None = None, progress: Progress | None = None
) -> list[Outcome]:
    """Ask the gateway and rate what it says, row by row; the outcomes in the rows' order.

    Raises:
        NoChampion, GatewayUnavailable: as `rate`.
        ServingError: the gateway refuses what it is sent.
    """
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    outcomes: list[Outcome] = []
    with (
        # trust_env: a proxy of the machine has no business between us and loopback.
        httpx.Client(base_url=gateway_url, headers=headers, timeout=90.0, trust_env=False) as client,
        ThreadPoolExecutor(CONCURRENCY, NAME) as threads,
    ):
        futures = [threads.submit(_rate_one, client, table, one) for one in plans]
        try:
            for future in futures:
                outcomes.append(future.result())
                if progress:
                    progress(len(outcomes), len(futures))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return outcomes


def _report(outcomes: Sequence[Outcome], *, data_version: str, seconds: float) -> RaterReport:
    kinds = Counter(outcome.kind for outcome in outcomes)
    asked = [outcome for outcome in outcomes if outcome.kind != "already"]
    return RaterReport(
        data_version=data_version,
        num_requests=len(asked),
        num_right=sum(outcome.is_right for outcome in asked),
        num_silent=kinds["silent"],
        num_approved=kinds["approve"],
        num_corrected=kinds["correct"],
        num_wrong=sum(outcome.is_rater_wrong for outcome in asked),
        num_already_rated=kinds["already"],
        versions=dict(sorted(Counter(outcome.version for outcome in asked).items())),
        seconds=seconds,
    )


def _rate_one(client: httpx.Client, table: str, one: Plan) -> Outcome:
    if one.speaks and _call(client, "GET", f"/v1/feedback/{one.feedback_id}", missing_ok=True) is not None:
        return Outcome("already")
    reply = _call(client, "POST", f"/v1/tasks/{table}", {"input": one.text, "subject": NAME})
    assert reply is not None
    output, version = str(reply["output"]), int(reply["receipt"]["version"])
    right = _same(output, one.truth)
    if not one.speaks:
        return Outcome("silent", version, right)
    kind: Literal["approve", "correct"] = "approve" if _same(output, one.belief) else "correct"
    opinion = {
        "feedback_id": one.feedback_id,
        "request_id": reply["request_id"],
        "kind": kind,
        "correction": one.belief if kind == "correct" else None,
        "subject": NAME,
        "channel": NAME,
    }
    _call(client, "POST", "/v1/feedback", opinion)
    return Outcome(kind, version, right, is_rater_wrong=one.belief != one.truth)


def _same(output: str, target: str) -> bool:
    return " ".join(output.split()) == " ".join(target.split())


def _call(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None, *, missing_ok: bool = False
) -> dict[str, Any] | None:
    """The reply's JSON; None for a 404 that is expected. Tries again while the gateway is away or busy."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            response = client.request(method, path, json=body)
        except httpx.TransportError as err:
            trouble = GatewayUnavailable(f"no gateway at {client.base_url}: {type(err).__name__}", "banyan status")
        else:
            if response.is_success:
                reply: dict[str, Any] = response.json()
                return reply
            if response.status_code == 404 and missing_ok:
                return None
            trouble = _refused(response)
        if time.monotonic() >= give_up:
            raise trouble
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _refused(response: httpx.Response) -> GatewayUnavailable:
    """The error to raise once patience ends. Raises at once what patience does not help."""
    try:
        error = response.json()["error"]
        code, message, remedy = str(error["code"]), str(error["message"]), str(error["remedy"])
    except (ValueError, KeyError, TypeError):
        code, message, remedy = "", f"the gateway answered {response.status_code}", ""
    if code == "no_champion":
        raise NoChampion(message, remedy)
    if response.status_code in {429, 502, 503, 504}:
        return GatewayUnavailable(message, remedy)
    raise ServingError(f"{response.status_code} {message}", remedy)
