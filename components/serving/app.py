"""The gateway: asks the champions, hands out receipts, takes feedback.

Nothing is said before it is durable in the ledger, and no prompt is ever logged.
Run it with `python -m components.serving.app --port 8000`.
"""

import argparse
import logging
import signal
import socket
import sys
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from components.errors import BanyanError, PortTaken
from components.ledger.store import Ledger
from components.serving import problems
from components.serving.auth import LOOPBACK_NAMES, refuse_open_binding
from components.serving.champions import Champions
from components.serving.channels import GuardedChannels
from components.serving.compare import router as compare_router
from components.serving.explain_routes import explain_router
from components.serving.gateway import Gateway
from components.serving.limits import BodyLimit, KnownHosts, Refuse
from components.serving.metrics import Metrics
from components.serving.openai_routes import openai_router
from components.serving.routes import router
from components.serving.traffic_routes import traffic_router
from components.settings import Settings, load_settings

log = logging.getLogger("banyan.gateway")

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 30.0
"""From a request's headers to the end of its body: 64 KiB take a slow telephone a few."""
MAX_CONNECTIONS = 1024
"""Beyond them uvicorn answers 503 by itself, so that sockets and memory stay bounded."""


def create_app(
    settings: Settings,
    *,
    champions: Champions | None = None,
    ledger: Ledger | None = None,
    metrics: Metrics | None = None,
    screening: Path | None = None,
) -> FastAPI:
    """The gateway as an ASGI application. Models load after it has started; nothing is opened before.

    Args:
        champions: who answers; default: the registry's champions, loaded by torch.
        ledger: where answers and feedback are kept; default: the settings' own.
        screening: the screening policy where the workspace has none; default: the built-in values.

    Raises:
        RecipeError: `settings.host` is off loopback and there is no key, or the screening policy does not read.
        LedgerError: it is, and the ledger cannot be opened to look for one.
    """
    refuse_open_binding(settings, ledger)
    if champions is None:
        from components.serving.engines import registry_champions

        champions = registry_champions(settings)
    metrics = metrics or Metrics()
    gateway = Gateway(settings, champions, ledger, metrics)

    app = FastAPI(title="Banyan gateway", lifespan=gateway.lifespan, redoc_url=None)
    problems.install(app, gateway.refused)
    app.include_router(router(gateway, GuardedChannels(settings.workspace, default=screening)))
    app.include_router(openai_router(gateway))
    app.include_router(traffic_router(gateway))
    app.include_router(compare_router(gateway))
    app.include_router(explain_router(gateway))

    def refusing(reason: str, response: Response) -> Refuse:
        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            gateway.refused(scope["method"], "", reason)  # no route was looked for yet
            await response(scope, receive, send)

        return refuse

    app.add_middleware(
        BodyLimit,
        max_bytes=MAX_BODY_BYTES,
        seconds=BODY_SECONDS,
        refuse_large=refusing("too large", problems.too_large(MAX_BODY_BYTES)),
        refuse_slow=refusing("too slow", problems.too_slow(BODY_SECONDS)),
    )
    if settings.is_loopback:
        foreign = lambda scope: gateway.refused(scope.get("method", ""), "", "foreign host")  # noqa: E731
        app.add_middleware(KnownHosts, hosts=LOOPBACK_NAMES, refused=foreign)
    app.add_middleware(problems.LastResort)
    return app


# ---------------------------------------------------------------- as a process


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        PortTaken: somebody listens there already, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: with 0 asyncio does not know it for TCP and leaves Nagle's algorithm on, 40 ms a request.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as err:
        sock.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {err.strerror}", "choose another with --port") from err
    return sock


def serve(settings: Settings, *, port: int, screening: Path | None = None) -> None:
    """Run the gateway until it is told to stop; requests in flight are answered first."""
    import uvicorn

    app = create_app(settings, screening=screening)
    sock = listen(settings.host, port)
    log.info("gateway on http://%s:%d", settings.host, sock.getsockname()[1])
    # No access log: the metrics count, and paths alone tell nothing.
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=30, limit_concurrency=MAX_CONNECTIONS
    )
    # uvicorn stops gracefully on the first SIGTERM, then raises it again for whoever was there before: a clean end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.Server(config).run(sockets=[sock])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.serving.app", description="The Banyan gateway.")
    parser.add_argument("--port", type=int, help="default: BANYAN_GATEWAY_PORT, or 8000; 0 takes a free one")
    parser.add_argument("--screening", type=Path, help="a screening recipe; default: the built-in values")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line a request to the registry, every second
    try:
        settings = load_settings()
        port = settings.gateway_port if given.port is None else given.port
        serve(settings, port=port, screening=given.screening)
    except BanyanError as err:
        print(f"gateway: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    # As a package module, so that its classes exist once and not also as __main__'s.
    from components.serving.app import main as run

    sys.exit(run())
