"""A client of servers of OpenAI's completions, with what vLLM and llama.cpp add: token ids and log-probabilities."""

import asyncio
import json
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from components.errors import GatewayUnavailable, ServingError

if TYPE_CHECKING:
    import httpx

MAX_CONNECTIONS = 64
CONNECT_SECONDS = 5.0
PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "repeat_penalty": 1.0, "cache_prompt": False}
"""What servers choose by themselves (vLLM out of the model's folder, llama.cpp by its defaults), set to no effect.

A cached prefix was computed in another batch: with it, an answer would depend on who asked before."""

Given = Literal["prompt_logprobs", "echo", ""]
"""By which of a server's options it tells what it thinks of given tokens; empty: by none, only of what it writes."""


class Server:
    """Completions of one model, read in a thread of their own, so that the engine's waits for no network."""

    def __init__(self, url: str, model: str, *, key: str | None, timeout_seconds: float) -> None:
        import httpx

        self.url, self.model = url, model
        self.timeout_seconds = timeout_seconds
        timeout = httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS)
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "timeout": timeout,
            "trust_env": False,  # an address of one's own network
        }
        self._loop = asyncio.new_event_loop()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=MAX_CONNECTIONS)
        self._client = httpx.AsyncClient(**self._options, limits=limits)
        threading.Thread(target=self._loop.run_forever, name=f"reads {url}", daemon=True).start()
        weakref.finalize(self, _end, self._loop, self._client)

    def models(self) -> dict[str, Mapping[str, Any]]:
        """Name → what the server says of it. Raises GatewayUnavailable."""
        import httpx

        try:
            with httpx.Client(**self._options) as client:
                answer = client.get("/v1/models").raise_for_status().json()
            return {str(one["id"]): one for one in answer["data"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as err:
            raise self.down(err) from err

    def takes_given(self, ids: Sequence[int]) -> Given:
        """How it tells what it thinks of `ids`, which are nobody's text.

        Raises:
            ServingError: it gives no log-probabilities at all.
            GatewayUnavailable: it does not answer.
        """
        import httpx

        found: dict[str, Any] = {}
        options = {"prompt_logprobs": {"prompt_logprobs": 1}, "echo": {"echo": True, "logprobs": 1}, "": {}}
        try:
            with httpx.Client(**self._options) as client:
                for name, option in options.items():
                    body = self.body(ids, max_tokens=1) | {"logprobs": 1, **option}
                    reply = client.post("/v1/completions", json=body)
                    found[name] = reply.json()["choices"][0] if reply.is_success else reply.text[:200]
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError) as err:
            raise self.down(err) from err
        ways: tuple[Given, ...] = ("prompt_logprobs", "echo")
        for way in ways:
            try:
                if len(values_of_given(found[way], ids, way)) == len(ids):
                    return way
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        plain = found[""]
        if not isinstance(plain, dict) or not tokens_of(plain)[0]:
            said = plain if isinstance(plain, str) else "a text without token ids and log-probabilities"
            raise ServingError(
                f"{self.url} cannot be held against the trainer: asked with `logprobs`, it gave {said}",
                "serve the version with vLLM or llama.cpp's server",
            )
        return ""

    def body(self, ids: Sequence[int], *, max_tokens: int) -> dict[str, Any]:
        """A request that leaves the server nothing to choose."""
        about = {"model": self.model, "prompt": list(ids), "max_tokens": max_tokens, "temperature": 0}
        return {**about, **PLAIN, "logprobs": 1, "return_tokens_as_token_ids": True}

    def read(self, body: dict[str, Any], tell: Callable[[Any], None]) -> Callable[[], object]:
        """Begin to read an answer; each part of it is told, None at its end, or what went wrong. Gives how to leave."""
        coming = asyncio.run_coroutine_threadsafe(_read(self._client, body, tell, self.down), self._loop)
        return coming.cancel

    def down(self, err: Exception) -> GatewayUnavailable:
        """It did not answer, or not as a server of completions does. Not its words: they may quote what was asked."""
        return GatewayUnavailable(
            f"the server at {self.url} gave no answer of {self.model} ({type(err).__name__})",
            "see that server's log; BANYAN_ENGINE=torch answers without it",
        )


async def _read(
    client: "httpx.AsyncClient",
    body: dict[str, Any],
    tell: Callable[[Any], None],
    down: Callable[[Exception], GatewayUnavailable],
) -> None:
    import httpx

    try:
        async with client.stream("POST", "/v1/completions", json=body) as reply:
            if reply.status_code != 200:
                tell(down(ServingError(f"status {reply.status_code}")))
                return
            if not body.get("stream"):
                tell(json.loads(await reply.aread()))
            else:
                rest = b""
                async for chunk in reply.aiter_bytes():
                    # not by httpx's lines: they end at U+2028 too, which a text may have in it
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data:") and line.strip() != b"data: [DONE]":
                            tell(json.loads(line.removeprefix(b"data:")))
        tell(None)
    except (httpx.HTTPError, ValueError) as err:
        tell(down(err))


def _end(loop: asyncio.AbstractEventLoop, client: "httpx.AsyncClient") -> None:
    """Close what is open, then stop the thread."""

    async def close() -> None:
        await client.aclose()
        loop.stop()

    if loop.is_running():
        asyncio.run_coroutine_threadsafe(close(), loop)


def find_server(
    urls: Sequence[str], name: str, *, key: str | None, timeout_seconds: float, start: str
) -> tuple[Server, int | None]:
    """The first server that has the model, and the longest text that it says it takes, in tokens.

    Raises:
        ServingError: none has it; it says what each one said.
    """
    problems = []
    for url in urls:
        server = Server(url.rstrip("/").removesuffix("/v1"), name, key=key, timeout_seconds=timeout_seconds)
        try:
            models = server.models()
        except GatewayUnavailable as err:
            problems.append(err.message)
            continue
        if name in models:
            longest = models[name].get("max_model_len")
            return server, int(longest) if longest else None
        problems.append(f"{server.url} has {', '.join(sorted(models)[:5]) or 'no model'}")
    raise ServingError(f"no server has {name}: {'; '.join(problems)}", start)


# ---------------------------------------------------------------- what it says


def tokens_of(choice: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """Token ids and their log-probabilities, as vLLM tells them in completions, or as llama.cpp does."""
    told = choice.get("logprobs") or {}
    if told.get("content") is not None:
        return [int(one["id"]) for one in told["content"]], [float(one["logprob"]) for one in told["content"]]
    ids = [int(str(one).removeprefix("token_id:")) for one in told.get("tokens") or []]
    return ids, [float(one) for one in told.get("token_logprobs") or []]


def values_of_given(choice: Mapping[str, Any], ids: Sequence[int], way: Given) -> list[float | None]:
    """The log-probability of each given token; None of the first, before which there is nothing."""
    if way == "prompt_logprobs":
        told = choice["prompt_logprobs"]
        return [one and float(one[str(token)]["logprob"]) for token, one in zip(ids, told, strict=True)]
    found, values = tokens_of({"logprobs": choice["logprobs"] | {"token_logprobs": []}})[0], choice["logprobs"]
    if found[: len(ids)] != list(ids):
        raise ValueError("it echoes other tokens")
    return list(values["token_logprobs"][: len(ids)])
