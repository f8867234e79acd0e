"""The operators' routes over who answers beside the champion."""

import contextlib
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import AwareDatetime, Field

from components.errors import (
    BanyanError,
    GatewayUnavailable,
    NoChampion,
    RegistryUnavailable,
    ServiceDown,
    UsageError,
    VersionNotFound,
)
from components.ledger.journal import Journal
from components.ledger.schema import SplitKind
from components.ledger.store import Ledger
from components.ledger.traffic import Split, Traffic
from components.refs import ModelRef
from components.registry import PREFIX, Registry
from components.serving import problems
from components.serving.auth import Caller
from components.serving.champions import aside
from components.serving.gateway import Gateway
from components.serving.messages import Body, Subject, Text
from components.supervisor import addresses

Version = Annotated[int, Field(gt=0, lt=2**31)]
"""What the registry's and the ledger's columns hold."""


class Part(Body):
    """What part of a table's traffic a version gets."""

    kind: Literal["canary", "shadow"]
    version: Version
    percent: Annotated[float, Field(gt=0, le=100, strict=False)]
    actor: Subject | None = None
    """Who wants it, kept in the journal beside the key that was used."""


class Back(Body):
    """To which earlier champion, and why: the one before, a version, or who served at a time."""

    to: Version | None = None
    at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    """ISO 8601 with a zone."""
    reason: Annotated[Text, Field(min_length=1, max_length=1000)] = "asked for over the gateway"
    actor: Subject | None = None


def traffic_router(gateway: Gateway) -> APIRouter:
    """The routes, to be included in the application."""
    champions = gateway.champions
    operator = gateway.door.needs("operator")
    router = APIRouter()

    @router.get("/v1/traffic", dependencies=[Depends(operator)])
    async def traffic() -> dict[str, Any]:
        """Every split in force, and whether its version is in memory."""
        found = await gateway.on_ledger(lambda ledger: _traffic(ledger, gateway).splits())
        arms = {(seat.table, kind): arm for seat in champions.seats() for kind, arm in seat.arms.items()}
        return {"splits": [_about(one, arms.get((one.table, one.kind))) for one in found]}

    @router.put("/v1/traffic/{table}")
    async def put(table: Text, part: Part, caller: Annotated[Caller, Depends(operator)]) -> dict[str, Any]:
        """Give a version its part: it is loaded first, then journalled, and answers from then on."""
        ref = await _resolve(gateway, table, part.version)
        if champions.batcher(table).engine.ref == ref:
            raise problems.Conflict(f"{ref} is the champion of {table}", "name another version")
        async with contextlib.AsyncExitStack() as stack:
            try:
                batcher = await stack.enter_async_context(champions.trying(table, ref, part.kind))
            except (NoChampion, GatewayUnavailable):
                raise
            except Exception as err:  # blanket: a folder of weights can fail in any way
                why = str(err) if isinstance(err, BanyanError) else type(err).__name__
                raise problems.Unprocessable(f"{ref} does not load: {why}", "name a version that does") from err
            split = await gateway.on_ledger(
                lambda ledger: _traffic(ledger, gateway).set(
                    ref, kind=part.kind, percent=part.percent, actor=_actor(caller, part.actor)
                )
            )
            champions.install(split, batcher)
        return _about(split, None) | {"state": "ready"}

    @router.post("/v1/rollback/{table}")
    async def roll_back(table: Text, back: Back, caller: Annotated[Caller, Depends(operator)]) -> dict[str, Any]:
        """An earlier champion serves again, through the journal; it answers before this does, if it is in memory."""
        who = _actor(caller, back.actor)

        def move(ledger: Ledger) -> ModelRef:
            registry = Registry(addresses(gateway.settings).mlflow)
            journal = Journal(ledger, gateway.settings.workspace)
            at = back.at.timestamp() if back.at else None
            return journal.rollback(registry, PREFIX + table, actor=who, reason=back.reason, to=back.to, at=at)

        _needs_registry(gateway)
        try:
            ref = await gateway.on_ledger(move)
        except UsageError as err:
            raise problems.Unprocessable(err.message, err.remedy) from err
        except (RegistryUnavailable, ServiceDown) as err:
            raise GatewayUnavailable(err.message, err.remedy) from err
        await champions.check()
        return ref.model_dump()

    @router.delete("/v1/traffic/{table}/{kind}")
    async def end(
        table: Text, kind: SplitKind, caller: Annotated[Caller, Depends(operator)], actor: Subject | None = None
    ) -> dict[str, Any]:
        """All to the champion again, from the next look at the ledger on."""
        who = _actor(caller, actor)
        ended = await gateway.on_ledger(lambda ledger: _traffic(ledger, gateway).end(table, kind, actor=who))
        if ended is None:
            raise problems.NotFound(f"{table!r} has no {kind}", "GET /v1/traffic shows what there is")
        await champions.check()
        return {"table": table, "kind": kind, "version": ended.version, "state": "off"}

    return router


def _traffic(ledger: Any, gateway: Gateway) -> Traffic:
    return Traffic(ledger, gateway.settings.workspace)


async def _resolve(gateway: Gateway, table: str, version: int) -> ModelRef:
    champions = gateway.champions
    champions.batcher(table)  # no champion: nothing to stand beside
    resolve = _needs_registry(gateway)
    try:
        return await aside(lambda: resolve(table, version))
    except VersionNotFound as err:
        raise problems.NotFound(f"there is no version {version} of {table!r}", "banyan status") from err
    except RegistryUnavailable as err:
        raise GatewayUnavailable(err.message, err.remedy) from err


def _needs_registry(gateway: Gateway) -> Callable[[str, int], ModelRef]:
    """What gives a table's versions. Raises Unprocessable: no other request would do better at this gateway."""
    if gateway.champions.resolve is None:
        raise problems.Unprocessable("this gateway's versions cannot be named", "start it with a registry")
    return gateway.champions.resolve


def _actor(caller: Caller, named: str | None) -> str:
    key = f"key {caller.key_id}" if caller.key_id else "operator"
    return f"{named} by {key}"[:128] if named else key


def _about(split: Split, arm: Any) -> dict[str, Any]:
    state = "waiting" if arm is None else "ready" if arm.batcher else "failed" if arm.problem else "loading"
    return {
        "table": split.table,
        "kind": split.kind,
        "model": split.ref.name,
        "version": split.ref.version,
        "percent": split.percent,
        "since": split.at,
        "until": split.until,
        "actor": split.actor,
        "state": state,
        "problem": arm.problem if arm else "",
    }
