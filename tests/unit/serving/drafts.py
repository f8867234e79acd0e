"""Texts that are written without a gateway: by an engine's decoder, step by step."""

from components.serving.decoding import Draft, Sampling
from components.serving.engines import TorchEngine


def draft(text: str, pieces: list[str] | None = None, **sampling) -> Draft:
    on_piece = (lambda _: None) if pieces is None else pieces.append
    return Draft(text, Sampling(**({"max_tokens": 6} | sampling)), on_piece)


def finish(engine: TorchEngine) -> None:
    """Until nothing is written any more."""
    while engine.decoder.num_rows:
        engine.decoder.step()


def alone(engine: TorchEngine, text: str, **sampling) -> Draft:
    """Written to its end, with nobody beside it."""
    one = draft(text, **sampling)
    engine.decoder.join([one])
    finish(engine)
    return one
