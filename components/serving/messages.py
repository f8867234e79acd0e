"""What travels over the gateway's HTTP interface."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from components.serving.receipts import Receipt

MAX_INPUT_CHARS = 16_000
"""The longest text a tokenizer is given; what models truncate to is far below."""


def _storable(text: str) -> str:
    if "\x00" in text:  # PostgreSQL cannot keep it
        raise ValueError("a NUL character cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError as err:  # half of a UTF-16 pair: JSON can spell it, no encoding has it
        raise ValueError("it is not valid Unicode") from err
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("there is nothing in it")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Subject = Annotated[Text, Field(min_length=1, max_length=200)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Question(Body):
    input: Annotated[Text, AfterValidator(_not_blank)]
    subject: Subject | None = None
    """Who asks; kept as a keyed pseudonym only."""


class Alternative(Body):
    label: str
    probability: float


class Reply(Body):
    request_id: str
    output: str
    confidence: float
    alternatives: list[Alternative]
    receipt: Receipt


class Opinion(Body):
    feedback_id: Id | None = None
    """Chosen by the sender to make repeating safe: the same id twice is one row."""
    request_id: Id
    kind: Literal["approve", "reject", "correct", "rate", "prefer", "comment"]
    correction: Annotated[Text, Field(max_length=MAX_INPUT_CHARS)] | None = None
    comment: Annotated[Text, Field(max_length=4000)] | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    other_request_id: Id | None = None
    """Of `prefer`: the answer to the same text that is liked less."""
    subject: Subject | None = None
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")] = "api"


class Received(Body):
    feedback_id: str
    fate: Literal["received"] = "received"
