"""What a worker does with one part: the blocks' functions, with arguments that JSON holds."""

from pathlib import Path
from typing import Any

from components.data.engine import blocks, finishing
from components.data.engine.inputs import Part, Piece
from components.recipes import Pack


def prepare(part: dict[str, Any], recipe: dict[str, Any], work: str, batch_chars: int) -> dict[str, Any]:
    """`blocks.prepare`."""
    pieces = tuple(Piece(*piece) for piece in part["pieces"])
    made = blocks.prepare(
        Part(part["number"], pieces, part["num_bytes"]), _recipe(recipe), Path(work), batch_chars=batch_chars
    )
    return {"number": part["number"], **made}


def finish(number: int, recipe: dict[str, Any], work: str, tokenizer_json: str, end_id: int) -> dict[str, Any]:
    """`finishing.finish`."""
    made = finishing.finish(number, _recipe(recipe), Path(work), tokenizer_json=Path(tokenizer_json), end_id=end_id)
    return {"number": number, **made}


def _recipe(content: dict[str, Any]) -> Pack:
    return Pack.model_validate(content)
