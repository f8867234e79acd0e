"""What a model's training computes, reckoned from its sizes: for plans, and for the utilisation of every run."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sizes(BaseModel):
    """Of a model: what arithmetic and memory are reckoned from."""

    model_config = ConfigDict(frozen=True)

    num_parameters: int
    num_trainable: int
    num_multiplied: int
    """Parameters that every token is multiplied with: all but looked-up tables."""
    num_multiplied_trained: int
    weight_bytes: int
    gradient_bytes: int
    num_layers: int
    width: int
    """Of attention; 0 where there is none."""


def flops_of(sizes: Sizes, *, num_tokens: float, length: int) -> tuple[float, float]:
    """Floating-point operations of a training, and those of them that are attention's products.

    Forward 2 a parameter and token, backward 2 for what flows back and 2 for what is learned (Kaplan et al. 2020).
    """
    attention = 12.0 * sizes.num_layers * sizes.width * length * num_tokens
    return (4.0 * sizes.num_multiplied + 2.0 * sizes.num_multiplied_trained) * num_tokens + attention, attention


def sizes_of(model: "PreTrainedModel") -> Sizes:
    """Counted on the model itself; a table that is looked up and, tied, multiplied with counts as multiplied with."""
    import torch

    parameters = list(model.parameters())
    output = model.get_output_embeddings()
    multiplied_with = set() if output is None else {id(p) for p in output.parameters()}
    tables = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    multiplied = [p for p in parameters if p.ndim >= 2 and (id(p) not in tables or id(p) in multiplied_with)]
    config = getattr(model, "config", None)
    heads = getattr(config, "num_attention_heads", 0) or 0
    width = getattr(config, "head_dim", None) or (getattr(config, "hidden_size", 0) // heads if heads else 0)
    return Sizes(
        num_parameters=sum(p.numel() for p in parameters),
        num_trainable=sum(p.numel() for p in parameters if p.requires_grad),
        num_multiplied=sum(p.numel() for p in multiplied),
        num_multiplied_trained=sum(p.numel() for p in multiplied if p.requires_grad),
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters),
        gradient_bytes=sum(p.numel() * p.element_size() for p in parameters if p.requires_grad),
        num_layers=getattr(config, "num_hidden_layers", 0) or 0,
        width=heads * width,
    )
