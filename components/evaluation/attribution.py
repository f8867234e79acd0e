"""Which input tokens an answer hangs on: integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), by Captum.

The path runs from a text of which nothing is known (each of its tokens' embeddings replaced by the mask token's, or
by the vocabulary's mean where there is none) to the text itself; special tokens, the template and what was written so
far stay. So the attributions add up to what the text changed in the answer's log-probability: the axiom of
completeness, whose error is reported with them.

Of a long text gradients are too much, and of some others they do not become complete. There whole parts of the text
(passages, turns, sentences) are replaced, one at a time (occlusion: Zeiler and Fergus 2014, arXiv 1311.2901), which
takes one forward pass a part. What they lose adds up to nothing.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from components.errors import UsageError
from components.evaluation.reading import Reading

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FIRST_STEPS = 16
MAX_STEPS = 1024
TOLERANCE = 0.02
"""Of the error of completeness against the difference, or against a nat where that is smaller."""
INCOMPLETE = 0.2
"""Of the same: gradients that leave more unsaid say too little."""
MAX_WORK = 3e12
"""Floating-point operations of one attribution, by 2 a parameter and token, and as many again for gradients."""
MAX_GRADIENT_TOKENS = 512
"""The gradients of longer inputs do not fit into a small machine's memory beside what it serves."""
MAX_PARTS = 24
MIN_PARTS = 4
"""With fewer nothing is said of a text."""
AT_ONCE = 1 << 24
"""Logits that are held at a time: steps are batched so that they are not more."""


@dataclass(frozen=True)
class Attribution:
    """What each part of a text added to the answer's log-probability, in nats."""

    method: Literal["integrated gradients", "leaving parts out"]
    parts: tuple[tuple[int, ...], ...]
    """Positions of the reading: one each where there are gradients."""
    values: tuple[float, ...]
    """Of each of `parts`."""
    score: float
    """Log-probability of the answer."""
    blank_score: float
    """The same where nothing of the text is known."""
    error: float
    """What the values' sum lacks to the difference of the two."""
    num_steps: int
    """Of the path; or how many parts were left out."""


Score = Callable[..., "torch.Tensor"]
"""Of texts as their embeddings (N, T, C), one a member of an ensemble: (N,) log-probabilities of the answer."""


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


def attribute(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", reading: Reading, *, breaks: Sequence[int] = ()
) -> Attribution:
    """What of the text moved a `twin`'s score: by integrated gradients, or where these fail by leaving parts of it out.

    Args:
        breaks: characters at which a part may best begin.

    Raises:
        UsageError: it would take too much work; or the model looks its tokens up where they cannot be followed.
    """
    import torch

    layers = _lookups(model)
    starts = _embedded(model, layers, reading)
    mask = None if model.can_generate() else tokenizer.mask_token_id  # who writes was never taught a mask
    own = torch.tensor([place is not None for place in reading.places], device=model.device)[None, :, None]
    blanks = tuple(torch.where(own, _unknown(layer, mask), start) for layer, start in zip(layers, starts, strict=True))

    def forward(*embedded: "torch.Tensor") -> "torch.Tensor":
        with _replaced(layers, embedded):
            return reading.scores(outputs(model, reading, number=len(embedded[0])))

    work = 2.0 * sum(p.numel() for p in model.parameters()) * (len(reading.ids) + len(reading.written))
    if int(own.sum()) <= MAX_GRADIENT_TOKENS and 2 * work * FIRST_STEPS <= MAX_WORK:
        width = max(1, AT_ONCE // (max(1, len(reading.deciding)) * _num_outputs(model)))
        tokens = [[i] for i, place in enumerate(reading.places) if place is not None]
        most_steps = min(MAX_STEPS, int(MAX_WORK / (2 * work)))
        found = _by_gradients(forward, starts, blanks, tokens, width=width, most_steps=most_steps)
        if abs(found.error) <= INCOMPLETE * max(1.0, abs(found.score - found.blank_score)):
            return found
    if (num_parts := min(MAX_PARTS, int(MAX_WORK / work) - 2)) < MIN_PARTS:
        raise UsageError(
            f"{len(reading.ids)} tokens through {sum(p.numel() for p in model.parameters()):,} parameters are too much "
            "to explain here",
            "explain a shorter text",
        )
    return _by_leaving_out(forward, starts, blanks, parts_of(reading, num_parts, breaks=breaks))


def _by_gradients(
    forward: Score,
    starts: "tuple[torch.Tensor, ...]",
    blanks: "tuple[torch.Tensor, ...]",
    tokens: list[list[int]],
    *,
    width: int,
    most_steps: int,
) -> Attribution:
    """Steps are doubled until the values are complete; so many as `width` at once."""
    import torch
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        score, blank = (float(forward(*ends)) for ends in (starts, blanks))
    num_steps = FIRST_STEPS
    while True:
        found = IntegratedGradients(forward).attribute(
            starts, blanks, n_steps=num_steps, internal_batch_size=min(width, num_steps)
        )
        at = sum(part.detach().sum(-1)[0] for part in found)  # (T,)
        assert isinstance(at, torch.Tensor)
        error = float(at.sum()) - (score - blank)
        is_close = abs(error) <= TOLERANCE * max(1.0, abs(score - blank))
        if is_close or 2 * num_steps > most_steps:
            values = tuple(at[[i for (i,) in tokens]].tolist())
            parts = tuple(map(tuple, tokens))
            return Attribution("integrated gradients", parts, values, score, blank, error, num_steps)
        num_steps *= 2


def _by_leaving_out(
    forward: Score,
    starts: "tuple[torch.Tensor, ...]",
    blanks: "tuple[torch.Tensor, ...]",
    parts: list[list[int]],
) -> Attribution:
    import torch

    with torch.no_grad():
        score, blank = (float(forward(*ends)) for ends in (starts, blanks))
        values = []
        for part in parts:
            without = tuple(start.clone() for start in starts)
            for one, unknown in zip(without, blanks, strict=True):
                one[:, part] = unknown[:, part]
            values.append(score - float(forward(*without)))
    error = sum(values) - (score - blank)
    return Attribution("leaving parts out", tuple(map(tuple, parts)), tuple(values), score, blank, error, len(parts))


def parts_of(reading: Reading, most: int, *, breaks: Sequence[int] = ()) -> list[list[int]]:
    """The text's positions in at most so many parts: what the template parts, the longest divided again and again,
    near its middle where one of `breaks` is within its inner half."""
    parts: list[list[int]] = []
    for i, place in enumerate(reading.places):
        if place is None:
            continue
        if parts and parts[-1][-1] == i - 1:
            parts[-1].append(i)
        else:
            parts.append([i])
    while len(parts) > most:
        i = min(range(len(parts) - 1), key=lambda i: len(parts[i]) + len(parts[i + 1]))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    begins = {next((i for i, p in enumerate(reading.places) if p and p[0] <= at < p[1]), -1) for at in breaks}
    while len(parts) < most:
        longest = max(range(len(parts)), key=lambda i: len(parts[i]))
        part = parts[longest]
        if len(part) < 2:
            break
        middle, inner = len(part) // 2, range(len(part) // 4 or 1, len(part) - len(part) // 4)
        at = min((i for i in inner if part[i] in begins), key=lambda i: abs(i - middle), default=middle)
        parts[longest : longest + 1] = [part[:at], part[at:]]
    return parts


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
