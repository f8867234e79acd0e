"""A language model of our `gpt` family, as the one GGUF file that llama.cpp reads."""

import json
from pathlib import Path
from typing import Any

from components.errors import UsageError

ARCHITECTURE = "qwen3"
WORD_PATTERN = "gpt-2"
"""As llama.cpp calls the way in which byte-level BPE of ours cuts a text into words (`tokenizer.ggml.pre`)."""


def write(folder: Path, target: Path) -> None:
    """Write the Hugging Face folder's weights, in the precision that they are stored in, and its tokenizer.

    llama.cpp's own script refuses it: it knows tokenizers by a hash of what they make of a text, and each of ours is
    trained on its own corpus.

    Raises:
        UsageError: another architecture, or a tokenizer that is not byte-level BPE.
    """
    import gguf
    from safetensors import safe_open

    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    tokenizer: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    if config["model_type"] != ARCHITECTURE:
        raise UsageError(
            f"GGUF is written of models of the family gpt ({ARCHITECTURE}); this one is {config['model_type']}",
            "export it as a folder, and try llama.cpp's convert_hf_to_gguf.py",
        )
    if tokenizer["model"]["type"] != "BPE" or tokenizer["pre_tokenizer"]["type"] != "ByteLevel":
        raise UsageError("GGUF is written of byte-level BPE; this tokenizer is another", "export it as a folder")
    writer = gguf.GGUFWriter(target, ARCHITECTURE)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    _add_tokenizer(writer, tokenizer, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    stored = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name)
                stored.add(str(tensor.dtype))
                known = names.get_name(name, try_suffixes=(".weight",))
                if known is None:
                    raise UsageError(f"GGUF has no name for {name} of {ARCHITECTURE}", "export it as a folder")
                values = tensor.float().numpy()
                if str(tensor.dtype) == "torch.bfloat16" and values.ndim > 1:
                    packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
                    writer.add_tensor(known, packed, raw_dtype=gguf.GGMLQuantizationType.BF16)
                else:
                    writer.add_tensor(known, values)
    is_whole = "torch.bfloat16" not in stored
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if is_whole else gguf.LlamaFileType.MOSTLY_BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    """Tokens by their number; entries of the embeddings that no token has are filled up, as llama.cpp wants it."""
    import gguf

    special = {one["id"]: one["content"] for one in tokenizer["added_tokens"]}
    by_id = {number: token for token, number in tokenizer["model"]["vocab"].items()} | special
    numbers = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(WORD_PATTERN)
    writer.add_token_list([by_id.get(number, f"[PAD{number}]") for number in numbers])
    kinds = gguf.TokenType
    writer.add_token_types(
        [
            kinds.CONTROL if number in special else kinds.NORMAL if number in by_id else kinds.UNUSED
            for number in numbers
        ]
    )
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
