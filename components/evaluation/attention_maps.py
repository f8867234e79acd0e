"""Where a model's attention lay when it answered. It is no explanation, and says so."""

from typing import TYPE_CHECKING, Any

from components.evaluation.attribution import outputs
from components.evaluation.reading import Reading

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CAUTION = (
    "Attention says where a layer took its values from, not what the answer hangs on: weights that differ much can "
    "give the same answer (Jain and Wallace 2019, arXiv 1902.10186). Look at the attributions for that."
)


def attention_maps(model: "PreTrainedModel", reading: Reading) -> "torch.Tensor | None":
    """(layers, T) fp32 of a `twin`: what the positions that decide give to each, mean over heads; None without any.

    Of an encoder–decoder it is what its decoder gives to the encoder's positions.
    """
    import torch

    from components.models.transformer import MultiHeadAttention

    if any(isinstance(module, MultiHeadAttention) for module in model.modules()):
        return _of_ours(model, reading)
    if not model._can_set_attn_implementation():
        return None
    with torch.no_grad():
        out = outputs(model, reading, output_attentions=True)
    layers = getattr(out, "cross_attentions" if model.config.is_encoder_decoder else "attentions", None)
    if not layers or layers[0] is None:
        return None
    # (1, heads, queries, T) each
    rows = slice(None) if model.config.is_encoder_decoder else reading.deciding
    return torch.stack([layer[0].float().mean(0)[rows].mean(0) for layer in layers])


def _of_ours(model: Any, reading: Reading) -> "torch.Tensor | None":
    """Of our own encoder–decoder, whose layers hand out values alone: their weights computed once more."""
    import torch

    maps: list[torch.Tensor] = []

    def look(module: Any, inputs: Any, _output: Any) -> None:
        hidden, source, mask = inputs[:3]
        queries, keys = module._heads(module.query(hidden)), module._heads(module.key(source))
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5  # (1, heads, T, S)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        maps.append(scores.float().softmax(-1)[0].mean((0, 1)))

    handles = [layer.cross_attention.register_forward_hook(look) for layer in model.decoder.layers]
    try:
        with torch.no_grad():
            outputs(model, reading)
    finally:
        for handle in handles:
            handle.remove()
    whole = bool(maps) and all(len(one) == len(reading.ids) for one in maps)
    return torch.stack(maps) if whole else None
