"""A GGUF file of SmolLM2 becomes a Hugging Face folder: bf16 safetensors, and its tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import AssetError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_LENGTH_TOKENS = 8192
SPECIAL_TOKENS = {
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "unk_token": "<|endoftext|>",
}


def to_hugging_face(gguf: Path, target: Path) -> None:
    """Convert `gguf` into the folder `target` (config, model.safetensors, tokenizer); takes about 15 s.

    Raises:
        AssetError: the file is not the SmolLM2 that we know how to convert, or its tokenizer answers otherwise.
    """
    import contextlib
    import io

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder, filename = str(gguf.parent), gguf.name
    try:
        loaded = AutoTokenizer.from_pretrained(folder, gguf_file=filename, local_files_only=True)
        # Without dequantize=True the model can be neither saved nor fine-tuned.
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no switch turns off
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                gguf_file=filename,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
                local_files_only=True,
            )
    except (OSError, ValueError, KeyError) as err:
        raise AssetError(f"{gguf.name} could not be converted: {err}") from err
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=loaded.backend_tokenizer,
        **SPECIAL_TOKENS,
        model_max_length=MAX_LENGTH_TOKENS,
        clean_up_tokenization_spaces=False,
        chat_template=loaded.chat_template,
    )
    _split_digits(tokenizer)
    check_tokenizer(tokenizer)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for file in target.iterdir():
        file.chmod(0o644)  # safetensors writes 0600


def _split_digits(tokenizer: "PreTrainedTokenizerFast") -> None:
    """GGUF says `tokenizer.ggml.pre = smollm` (each digit alone, then GPT-2's pattern); transformers 5.23
    reads only the second half, so that "  12" becomes other tokens than the model was trained on."""
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )


EXPECTED_TOKENS = {
    "  12": ["ĠĠ", "1", "2"],
    "\n\n2024": ["ĊĊ", "2", "0", "2", "4"],
    "def f(x):\n    return x": ["def", "Ġf", "(", "x", "):", "ĊĠĠĠ", "Ġreturn", "Ġx"],
    "<|im_start|>user\n": ["<|im_start|>", "user", "Ċ"],
}
"""What `tokenizer.ggml.pre = smollm` means: digits alone, byte-level BPE, control tokens whole. Derived from that
rule; the authors' own tokenizer file was not at hand to compare with."""


def check_tokenizer(tokenizer: "PreTrainedTokenizerFast") -> None:
    """Raises AssetError when a text is cut otherwise than `EXPECTED_TOKENS`, or does not come back whole."""
    for text, expected in EXPECTED_TOKENS.items():
        found = tokenizer.tokenize(text)
        if found != expected:
            raise AssetError(f"the converted tokenizer cuts {text!r} into {found}, expected {expected}")
    for text in ("naïve 漢字 🙂\t\r\n  x", "a\u00a0b  \n\n c"):
        if tokenizer.decode(tokenizer(text).input_ids) != text:
            raise AssetError(f"the converted tokenizer does not give {text!r} back")
