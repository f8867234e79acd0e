"""From a trained folder to OpenVINO's own form: a stateful graph of a causal model, a plain one of an encoder.

Only `openvino` is needed. The causal graph has the inputs and outputs that GenAI's continuous batching looks for, and
its keys and values as state. It is traced in float32, which holds the weights of every precision exactly.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GRAPH = "openvino_model.xml"
LAST_HIDDEN = "last_hidden_state"


def export_writer(model: "PreTrainedModel", folder: Path) -> None:
    """A causal model of plain keys and values (see `decoding.keeps_plain`), as `folder`/openvino_model.xml."""
    import openvino as ov
    import torch
    from openvino._offline_transformations import apply_make_stateful_transformation
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    is_half = model.dtype != torch.float32
    model = model.float()
    with torch.inference_mode():
        probe: Any = model(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=True).past_key_values
    shapes = [tuple(layer.keys.shape) for layer in probe.layers]  # (B, heads, T, D)

    class Stepping(torch.nn.Module):
        """One step: new tokens, and keys and values in and out as plain tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, *past: Any) -> tuple[Any, ...]:
            cache = DynamicCache()
            for i in range(len(past) // 2):
                layer = DynamicLayer()
                layer.lazy_initialization(past[2 * i], past[2 * i + 1])
                # Set, not appended to what is empty: the empty tensor has one axis, and the graph none to join along.
                layer.keys, layer.values = past[2 * i], past[2 * i + 1]
                cache.layers.append(layer)
            out: Any = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
            )
            states = [tensor for layer in out.past_key_values.layers for tensor in (layer.keys, layer.values)]
            return (out.logits, *states)

    batch, before, new = 2, 3, 4  # no length is 1: what is 1 in the example is taken for constant
    example = (
        torch.ones(batch, new, dtype=torch.long),
        torch.ones(batch, before + new, dtype=torch.long),
        torch.arange(before, before + new).expand(batch, -1),
        *(torch.zeros(batch, heads, before, size) for _, heads, _, size in shapes for _ in range(2)),
    )
    with torch.inference_mode():
        graph = ov.convert_model(Stepping().eval(), example_input=example)
    kinds = [f"{i}.{kind}" for i in range(len(shapes)) for kind in ("key", "value")]
    names = ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{kind}" for kind in kinds)]
    for port, name in zip(graph.inputs, names, strict=True):
        port.get_tensor().set_names({name})
        if name.startswith("past"):
            _, heads, _, size = shapes[int(name.split(".")[1])]
            port.get_node().set_partial_shape(ov.PartialShape([-1, heads, -1, size]))
        else:
            port.get_node().set_partial_shape(ov.PartialShape([-1, -1]))
            port.get_node().set_element_type(ov.Type.i64)
    for port, name in zip(graph.outputs, ["logits", *(f"present.{kind}" for kind in kinds)], strict=True):
        port.get_tensor().set_names({name})
    _let_rows_move(graph)
    graph.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(graph, {f"past_key_values.{kind}": f"present.{kind}" for kind in kinds})
    _begin_empty(graph)
    _save(graph, folder, is_half=is_half)


def _let_rows_move(graph: Any) -> None:
    """The input `beam_idx`: which row each row goes on from; GenAI looks for it."""
    import numpy as np
    import openvino as ov
    from openvino import opset13 as ops

    rows = ops.parameter([-1], ov.Type.i32)
    rows.output(0).get_tensor().set_names({"beam_idx"})
    rows.set_friendly_name("beam_idx")
    graph.add_parameters([rows])
    for port in graph.inputs:
        if port.get_any_name().startswith("past_key_values"):
            node = port.get_node()
            consumers = node.output(0).get_target_inputs()
            moved = ops.gather(node, rows, ops.constant(0, dtype=np.int64))
            for one in consumers:
                one.replace_source_output(moved.output(0))


def _begin_empty(graph: Any) -> None:
    """Keys and values begin with no tokens and as many rows as there are: paged attention knows them by that."""
    import numpy as np
    from openvino import opset13 as ops

    ids = next(port for port in graph.inputs if port.get_any_name() == "input_ids")
    shape = ops.shape_of(ids, output_type="i64")
    rows = ops.gather(shape, ops.constant([0], dtype=np.int64), ops.constant(0, dtype=np.int64))
    for op in graph.get_ops():
        if op.get_type_name() == "ReadValue":
            sizes = op.get_output_partial_shape(0)
            rest = [0 if one.is_dynamic else one.get_length() for one in list(sizes)[1:]]
            dims = ops.concat([rows, ops.constant(rest, dtype=np.int64)], axis=0)
            nothing = ops.broadcast(ops.constant(0.0, dtype=op.get_output_element_type(0).to_dtype()), dims)
            op.set_arguments([nothing])
    graph.validate_nodes_and_infer_types()


def export_encoder(model: "PreTrainedModel", folder: Path) -> None:
    """An encoder with its head: what the head says, and the last hidden states for embeddings."""
    import openvino as ov
    import torch

    is_half = model.dtype != torch.float32
    model = model.float()

    class Reading(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> tuple[Any, ...]:
            out: Any = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
            said = (out.logits,) if getattr(out, "logits", None) is not None else (out.start_logits, out.end_logits)
            return (*said, out.hidden_states[-1])

    mask = torch.ones(2, 5, dtype=torch.long)
    mask[1, 3:] = 0  # traced with padding, or a mask of ones would be optimised away
    with torch.inference_mode():
        graph = ov.convert_model(Reading().eval(), example_input=(torch.ones(2, 5, dtype=torch.long), mask))
    for port, name in zip(graph.inputs, ["input_ids", "attention_mask"], strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(ov.PartialShape([-1, -1]))
        port.get_node().set_element_type(ov.Type.i64)
    names = ["logits"] if len(graph.outputs) == 2 else ["start_logits", "end_logits"]
    for port, name in zip(graph.outputs, [*names, LAST_HIDDEN], strict=True):
        port.get_tensor().set_names({name})
    graph.validate_nodes_and_infer_types()
    _save(graph, folder, is_half=is_half)


def _save(graph: Any, folder: Path, *, is_half: bool) -> None:
    """Whole or not at all. float16 holds every bfloat16 between 6e-8 and 65,504 exactly, in half of float32's space."""
    import openvino as ov

    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    ov.save_model(graph, beside / GRAPH, compress_to_fp16=is_half)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
