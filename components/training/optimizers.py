"""Optimizers by name. A list, because Muon is for matrices only and leaves the rest to AdamW."""

from typing import TYPE_CHECKING

from components.recipes import Training

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def build(model: "PreTrainedModel", recipe: Training) -> "list[torch.optim.Optimizer]":
    """The optimizers over the model's trainable parameters, whose groups have `initial_lr`, the rate at its height.
    Weight decay is for matrices, not for gains and biases.

    Muon: Jordan et al. 2024, its step scaled to AdamW's (Liu et al. 2025, arXiv 2502.16982), so that one learning
    rate serves both where `table_learning_rate` names no other. Embeddings and the output layer are tables rather than
    maps: AdamW takes them.
    AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) and Adam (Kingma & Ba 2015, arXiv 1412.6980): betas 0.9 and 0.95,
    for training from scratch or not alike. SGD with the recipe's momentum, or none.
    """
    optimizers = _built(model, recipe)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # as PyTorch's own schedulers call it
    return optimizers


def _built(model: "PreTrainedModel", recipe: Training) -> "list[torch.optim.Optimizer]":
    import torch

    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = _matrices(model) if recipe.optimizer == "muon" else set()
    muon = [p for name, p in trainable.items() if name in matrices]
    decayed = [p for name, p in trainable.items() if p.ndim >= 2 and name not in matrices]
    plain = [p for p in trainable.values() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    lr = recipe.learning_rate
    if recipe.optimizer == "sgd":
        return [torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum or 0.0)]
    if recipe.optimizer == "adam":
        return [torch.optim.Adam(groups, lr=lr, betas=(0.9, 0.95), fused=True)]
    optimizers: list[torch.optim.Optimizer] = []
    if muon:
        optimizers.append(
            torch.optim.Muon(muon, lr=lr, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    if groups:
        # fused: 6 ms a step instead of 60 for MiniLM's 22 M parameters on 2 cores
        own = recipe.table_learning_rate or lr
        optimizers.append(torch.optim.AdamW(groups, lr=own, betas=(0.9, 0.95), fused=True))
    return optimizers


def _matrices(model: "PreTrainedModel") -> set[str]:
    """Names of the 2-D weights that map hidden states to hidden states."""
    import torch

    outer = [model.get_input_embeddings(), model.get_output_embeddings()]
    outer += [getattr(model, name, None) for name in ("classifier", "score", "qa_outputs")]
    tables = {id(p) for module in outer if module is not None for p in module.parameters()}
    tables |= {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    return {name for name, p in model.named_parameters() if p.ndim == 2 and id(p) not in tables}
