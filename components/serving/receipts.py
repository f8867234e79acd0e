"""Receipts: what identifies one answer, so that it can be traced to weights, data and template."""

import uuid

from pydantic import BaseModel, ConfigDict, JsonValue

from components.refs import ModelRef


class Receipt(BaseModel):
    """Which model version said it, through which template, with which generation parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    model: str
    version: int
    weights_sha256: str
    template_sha256: str
    """Hash of the text that the task wraps around an input; of the empty string where there is none."""
    generation: dict[str, JsonValue]
    """Every parameter that shapes the output, as it was used for this answer."""


def issue(ref: ModelRef, *, template_sha256: str, generation: dict[str, JsonValue]) -> Receipt:
    """A receipt with a new request id (128 random bits, hexadecimal)."""
    return Receipt(
        request_id=uuid.uuid4().hex,
        model=ref.name,
        version=ref.version,
        weights_sha256=ref.weights_sha256,
        template_sha256=template_sha256,
        generation=generation,
    )
