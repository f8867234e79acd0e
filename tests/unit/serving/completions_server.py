"""A small server of OpenAI's completions as vLLM and llama.cpp have them, with a real model behind it.

Written after their documentation: token ids in, `logprobs`, vLLM's `prompt_logprobs` and `echo`, events with `stream`.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from components.serving.app import listen


class Upstream:
    """What the server is, and what it saw. `manner`: which log-probabilities it tells, and how."""

    def __init__(self, model_dir: Path, name: str, manner: Literal["vllm", "echo", "llama", "mute"]) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(model_dir)
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.name, self.manner = name, manner
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.num_left = 0
        self.status = 200
        self.breaks_after: int | None = None
        """Pieces after which the connection ends in the middle of an answer."""
        self.seconds_a_token = 0.0
        self.url = ""

    def logprobs(self, ids: list[int]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)  # (T, V)

    def write(self, body: dict[str, Any]) -> Iterator[tuple[int, float, bool]]:
        """Token, log-probability, whether it is the last."""
        import torch

        ids, generator = list(body["prompt"]), torch.Generator().manual_seed(body.get("seed") or 0)
        for number in range(body["max_tokens"]):
            row = self.logprobs(ids)[-1]
            if body["temperature"] > 0:
                token = int(torch.multinomial((row / body["temperature"]).softmax(-1), 1, generator=generator))
            else:
                token = int(row.argmax())
            ids.append(token)
            is_end = token == self.tokenizer.eos_token_id
            yield token, float(row[token]), is_end or number + 1 == body["max_tokens"]
            if is_end:
                return

    def choice(self, tokens: list[tuple[int, float | None]], reason: str | None) -> dict[str, Any]:
        told: Any = {
            "tokens": [f"token_id:{token}" for token, _ in tokens],
            "token_logprobs": [value for _, value in tokens],
        }
        if self.manner == "llama":
            told = {"content": [{"id": token, "logprob": value} for token, value in tokens]}
        if self.manner == "mute":
            told = None
        text = self.tokenizer.decode([token for token, _ in tokens], skip_special_tokens=True)
        return {"index": 0, "text": text, "logprobs": told, "finish_reason": reason}

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        wrote = list(self.write(body))
        reason = "stop" if wrote[-1][0] == self.tokenizer.eos_token_id else "length"
        tokens: list[tuple[int, float | None]] = [(token, value) for token, value, _ in wrote]
        prompt = body["prompt"]
        given = self.logprobs(prompt)
        told = [float(given[at][token]) for at, token in enumerate(prompt[1:])]
        if body.get("echo"):
            tokens = [(prompt[0], None), *zip(prompt[1:], told, strict=True), *tokens]
        found = self.choice(tokens, reason)
        if self.manner == "vllm" and body.get("prompt_logprobs"):
            after = [{str(token): {"logprob": value}} for token, value in zip(prompt[1:], told, strict=True)]
            found["prompt_logprobs"] = [None, *after]
        return found

    async def events(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        try:
            for number, (token, value, is_last) in enumerate(self.write(body)):
                if number == self.breaks_after:
                    return
                reason = ("stop" if token == self.tokenizer.eos_token_id else "length") if is_last else None
                event = {"id": "\u2028", "choices": [self.choice([(token, value)], reason)]}  # to Python a line's end
                yield b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"
                await asyncio.sleep(self.seconds_a_token)
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.num_left += 1
            raise

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        def models() -> dict[str, Any]:
            return {"data": [{"id": self.name, "object": "model", "max_model_len": 64}]}

        @app.post("/v1/completions")
        async def completions(request: Request) -> Any:
            body = await request.json()
            self.bodies.append(body)
            self.keys.append(request.headers.get("authorization"))
            if self.status != 200:
                return JSONResponse({"error": {"message": f"cannot read {body['prompt']}"}}, self.status)
            if body.get("echo") and self.manner in ("llama", "mute"):
                return JSONResponse({"error": {"message": "echo is not supported"}}, 400)
            if body.get("stream"):
                return StreamingResponse(self.events(body), media_type="text/event-stream")
            return {"choices": [self.whole(body)]}

        return app


@contextmanager
def serving(upstream: Upstream) -> Iterator[Upstream]:
    """The server on a free port of loopback."""
    sock = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(upstream.app(), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        upstream.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        yield upstream
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)
