"""What travels over the OpenAI-compatible part of the gateway's HTTP interface.

A field that would change nothing is refused, unless it says what is the case anyway.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from components.serving.gateway import Said
from components.serving.messages import MAX_INPUT_CHARS, Body, Subject, Text, _not_blank
from components.serving.receipts import Receipt

Model = Annotated[str, Field(min_length=1, max_length=200)]
"""A table's name, as /v1/models has it; with @VERSION, only while that version is the champion."""
Stop = Annotated[Text, Field(min_length=1, max_length=200)]
Asked = Annotated[Text, AfterValidator(_not_blank)]
MAX_EMBEDDED = 64


class StreamOptions(Body):
    include_usage: bool = False


class Part(Body):
    type: Literal["text"]
    text: Text


class Message(Body):
    role: Literal["user", "system", "developer", "assistant", "tool"]
    content: Text | list[Part]

    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class PlainFormat(Body):
    type: Literal["text"]


class Generation(Body):
    """What completions and chat completions share."""

    model: Model
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Subject | None = None
    """Who asks; kept as a keyed pseudonym only."""
    n: Literal[1] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None

    def stops(self) -> tuple[str, ...]:
        """The texts before which the answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionRequest(Generation):
    prompt: Asked | Annotated[list[Asked], Field(min_length=1, max_length=1)]
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    logprobs: None = None
    suffix: None = None

    def text(self) -> str:
        """What is asked."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class ChatRequest(Generation):
    messages: Annotated[list[Message], Field(min_length=1, max_length=64)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    retrieve: Annotated[int, Field(ge=0, le=12)] | None = None
    """So many passages of the workspace's documents to answer from; of tasks that converse."""
    graph: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")] | None = None
    """A knowledge graph that helps to retrieve."""
    logprobs: Literal[False] | None = None
    response_format: PlainFormat | None = None


class EmbeddingRequest(Body):
    model: Model
    input: (
        Annotated[Asked, Field(max_length=MAX_INPUT_CHARS)]
        | Annotated[
            list[Annotated[Asked, Field(max_length=MAX_INPUT_CHARS)]], Field(min_length=1, max_length=MAX_EMBEDDED)
        ]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=100_000)] | None = None
    user: Subject | None = None

    def texts(self) -> list[str]:
        """What is to be embedded."""
        return [self.input] if isinstance(self.input, str) else self.input


# ---------------------------------------------------------------- replies


def usage(said: Said) -> dict[str, int]:
    """Token counts."""
    return {
        "prompt_tokens": said.num_prompt_tokens,
        "completion_tokens": said.num_tokens,
        "total_tokens": said.num_prompt_tokens + said.num_tokens,
    }


def envelope(kind: str, receipt: Receipt, *, table: str, created: int) -> dict[str, Any]:
    """What every reply and every chunk of it has. Its id is the request id that receipts and feedback go by."""
    return {
        "id": receipt.request_id,
        "object": kind,
        "created": created,
        "model": f"{table}@{receipt.version}",
        "system_fingerprint": receipt.weights_sha256[:16],
    }


def embedding_row(index: int, vector: Sequence[float], encoding: str | None) -> Mapping[str, Any]:
    """One embedding; base64 is of little-endian 32-bit floats."""
    value: Any = vector
    if encoding == "base64":
        value = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return {"object": "embedding", "index": index, "embedding": value}
