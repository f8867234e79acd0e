"""Which input tokens an answer hangs on: integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), by Captum.

The path runs from a text of which nothing is known (each of its tokens' embeddings replaced by the mask token's, or
by the vocabulary's mean where there is none) to the text itself; special tokens, the template and what was written so
far stay. So the attributions add up to what the text changed in the answer's log-probability: the axiom of
completeness, whose error is reported with them.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from components.errors import UsageError
from components.evaluation.reading import Reading

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FIRST_STEPS = 16
MAX_STEPS = 1024
TOLERANCE = 0.02
"""Of the error of completeness against the difference, or against a nat where that is smaller."""
MAX_WORK = 3e12
"""Floating-point operations of one attribution, by 4 a parameter, token and step."""
AT_ONCE = 1 << 24
"""Logits that are held at a time: steps are batched so that they are not more."""


@dataclass(frozen=True)
class Attribution:
    """What each position of a reading added to the answer's log-probability, in nats."""

    values: tuple[float, ...]
    """(T,) zero where the position is not of the text."""
    score: float
    """Log-probability of the answer."""
    blank_score: float
    """The same where nothing of the text is known."""
    error: float
    """What the values' sum lacks to the difference of the two."""
    num_steps: int


def twin(model: "PreTrainedModel") -> "PreTrainedModel":
    """A copy that may be hooked and differentiated while the model answers: in fp32, with eager attention.

    Its frozen weights are the model's own memory where they are fp32 already.
    """
    from itertools import chain

    import torch

    memo: dict[int, Any] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        plain = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        memo[id(tensor)] = torch.nn.Parameter(plain, requires_grad=False) if is_parameter else plain
    same: PreTrainedModel = copy.deepcopy(model, memo).eval()
    same.config.dtype = torch.float32
    if same._can_set_attn_implementation():
        same.set_attn_implementation("eager")
    return same


def outputs(model: Any, reading: Reading, *, number: int = 1, **options: Any) -> Any:
    """What the model gives for `number` readings, as `Reading.scores` takes it; with `options`, the raw output."""
    import torch

    ids = torch.tensor([reading.ids], device=model.device).expand(number, -1)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if reading.written:
        start = int(model.config.decoder_start_token_id or 0)
        shifted = torch.tensor([[start, *reading.written[:-1]]], device=model.device)
        inputs |= {"decoder_input_ids": shifted.expand(number, -1), "use_cache": False}
    out = model(**inputs, **options)
    if options:
        return out
    if reading.allowed is not None:
        return out.start_logits, out.end_logits
    return out.logits if out.logits.dim() == 2 else out.logits[:, reading.deciding]


def attribute(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", reading: Reading) -> Attribution:
    """Integrated gradients of a `twin`'s score; steps are doubled until they are complete, at most `MAX_STEPS`.

    Raises:
        UsageError: it would take too much work; or the model looks its tokens up where they cannot be followed.
    """
    import torch
    from captum.attr import IntegratedGradients

    layers = _lookups(model)
    starts = _embedded(model, layers, reading)
    mask = None if model.can_generate() else tokenizer.mask_token_id  # who writes was never taught a mask
    own = torch.tensor([place is not None for place in reading.places], device=model.device)[None, :, None]
    blanks = tuple(torch.where(own, _unknown(layer, mask), start) for layer, start in zip(layers, starts, strict=True))
    work = 4.0 * sum(p.numel() for p in model.parameters()) * (len(reading.ids) + len(reading.written))
    if work * FIRST_STEPS > MAX_WORK:
        raise UsageError(
            f"{len(reading.ids)} tokens through {sum(p.numel() for p in model.parameters()):,} parameters are too much "
            "to explain here",
            "explain a shorter text",
        )
    width = max(1, AT_ONCE // (max(1, len(reading.deciding)) * _num_outputs(model)))

    def forward(*embedded: "torch.Tensor") -> "torch.Tensor":
        with _replaced(layers, embedded):
            return reading.scores(outputs(model, reading, number=len(embedded[0])))

    with torch.no_grad():
        score, blank = (float(forward(*ends)) for ends in (starts, blanks))
    num_steps = FIRST_STEPS
    while True:
        found = IntegratedGradients(forward).attribute(
            starts, blanks, n_steps=num_steps, internal_batch_size=min(width, num_steps)
        )
        values = sum(part.detach().sum(-1)[0] for part in found)  # (T,)
        assert isinstance(values, torch.Tensor)
        error = float(values.sum()) - (score - blank)
        next_steps = 2 * num_steps
        is_close = abs(error) <= TOLERANCE * max(1.0, abs(score - blank))
        if is_close or next_steps > MAX_STEPS or work * next_steps > MAX_WORK:
            return Attribution(tuple(values.tolist()), score, blank, error, num_steps)
        num_steps = next_steps


def _lookups(model: Any) -> "list[torch.nn.Module]":
    """Where tokens become vectors: of an ensemble, one a member; of an encoder–decoder, the encoder's."""
    import torch

    if members := getattr(model, "members", None):
        return [layer for member in members for layer in _lookups(member)]
    owner: Any = model
    if model.config.is_encoder_decoder and hasattr(model.get_encoder(), "get_input_embeddings"):
        owner = model.get_encoder()
    layer = owner.get_input_embeddings()
    assert isinstance(layer, torch.nn.Module)
    return [layer]


@contextlib.contextmanager
def _replaced(layers: Any, told: Any) -> Iterator[None]:
    """Meanwhile the first look-up of each layer gives what is told, and no other does.

    An encoder–decoder may look up both of its texts in one layer; the encoder's comes first.
    """
    handles = [
        layer.register_forward_hook(_once(partial(_instead, embedded)))
        for layer, embedded in zip(layers, told, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _instead(embedded: Any, _output: Any) -> Any:
    return embedded


def _keep(found: "dict[int, torch.Tensor]", number: int, output: Any) -> None:
    found[number] = output.detach().clone()


def _once(call: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    seen: list[bool] = []

    def hook(_layer: Any, _inputs: Any, output: Any) -> Any:
        if seen:
            return None
        seen.append(True)
        return call(output)

    return hook


def _embedded(model: Any, layers: Any, reading: Reading) -> "tuple[torch.Tensor, ...]":
    """(1, T, C) of each layer, as the model itself looks them up."""
    import torch

    found: dict[int, torch.Tensor] = {}
    handles = [layer.register_forward_hook(_once(partial(_keep, found, i))) for i, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            outputs(model, reading)
    finally:
        for handle in handles:
            handle.remove()
    shapes = {tuple(one.shape[:2]) for one in found.values()}
    if len(found) < len(layers) or shapes != {(1, len(reading.ids))}:
        raise UsageError(
            f"{type(model).__name__} does not look its tokens up in an embedding layer",
            "its answers have no attribution",
        )
    return tuple(found[i] for i in range(len(layers)))


def _unknown(layer: Any, number: int | None) -> "torch.Tensor":
    """(1, 1, C) of a token that says nothing."""
    import torch

    with torch.no_grad():
        # Through the layer: some scale what they look up.
        if number is not None and int(number) < layer.weight.shape[0]:
            found: torch.Tensor = layer(torch.tensor([[number]], device=layer.weight.device))
            return found
        every = torch.arange(layer.weight.shape[0], device=layer.weight.device)
        mean: torch.Tensor = layer(every).mean(0)
        return mean[None, None]


def _num_outputs(model: Any) -> int:
    head = model.get_output_embeddings()
    return int(head.weight.shape[0]) if head is not None else int(model.config.num_labels)
