"""A GGUF file of our GPT, read by another program's reader than wrote it: the same logits and the same tokens."""

import gguf
import pytest
import torch
import transformers

from components import gguf_writing
from components.errors import UsageError
from components.models.families import load_language_model
from components.training.pretraining import pretrain
from tests.small_trainings import one_thread, read_corpus, small_bert, small_data  # noqa: F401  fixtures

TEXTS = ["def f3(x):\n    return x", "filter the  brain signal 12", "naïve 漢字 🙂\t\n"]


def test_another_reader_finds_the_same_logits_and_tokens(read_corpus, small_data, tmp_path):  # noqa: F811
    # heads of 128, since transformers does not read the width of Qwen3's heads from a GGUF file
    wide = {"hidden_size": 256, "num_heads": 2, "num_kv_heads": 1, "num_layers": 2, "num_steps": 12}
    recipe = read_corpus.model_copy(update=wide)
    done = pretrain(recipe, data_dir=small_data, run_dir=tmp_path / "run")
    gguf_writing.write(done.model_dir, tmp_path / "gpt.gguf")
    fields = gguf.GGUFReader(tmp_path / "gpt.gguf").fields
    assert [fields[f"qwen3.attention.{name}_length"].contents() for name in ("key", "value")] == [128, 128]
    ours, tokenizer = load_language_model(done.model_dir)
    options = {"gguf_file": "gpt.gguf", "local_files_only": True}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, **options).eval()
    read = transformers.AutoTokenizer.from_pretrained(tmp_path, **options)
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"][:16]
        assert read(text)["input_ids"][:16] == ids
        with torch.inference_mode():
            wanted, found = (model(input_ids=torch.tensor([ids])).logits for model in (ours, theirs))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_what_it_cannot_write_is_refused(small_bert, tmp_path):  # noqa: F811
    with pytest.raises(UsageError, match=r"of the family gpt \(qwen3\); this one is bert"):
        gguf_writing.write(small_bert, tmp_path / "bert.gguf")
    assert not (tmp_path / "bert.gguf").exists()
