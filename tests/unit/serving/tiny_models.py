"""Small random models on disk, as training leaves them."""

from pathlib import Path

from components.models.tokenizer import train_bpe

TEXTS = ["Return the shortest path.", "Solve an equation, symbolically and at length, for all of its unknowns.", "x"]
LABELS = ["django", "networkx", "sympy"]


def classifier(folder: Path) -> Path:
    """An encoder with a head."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = train_bpe(TEXTS * 3, vocab_size=300)
    tokenizer.model_max_length = 16
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
        num_labels=3,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=1.0,  # random answers, but decided ones
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def writer(folder: Path, *, max_new_tokens: int = 6, seed: int = 0) -> Path:
    """A causal model that writes."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = train_bpe(TEXTS * 3, vocab_size=300)
    tokenizer.model_max_length = 32
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=1.0,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def own_writer(folder: Path, family: str, *, max_new_tokens: int = 6) -> Path:
    """A model of one of our own causal families that writes: recurrent, or of the last few tokens."""
    import torch
    from transformers import GenerationConfig

    from components.models.families import FAMILIES
    from components.recipes import Pretrain

    tokenizer = train_bpe(TEXTS * 3, vocab_size=300)
    tokenizer.model_max_length = 32
    context = {"context_tokens": 3} if family in {"feedforward", "ngram_gpt"} else {}
    shape = {"hidden_size": 16, "num_layers": 2, "num_steps": 1, "learning_rate": 1, "max_length_tokens": 512}
    torch.manual_seed(0)
    model = FAMILIES[family].build(Pretrain(name="t", family=family, **shape, **context), len(tokenizer))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))  # random answers, but decided ones
    end = tokenizer.eos_token_id
    model.config.pad_token_id = model.config.eos_token_id = model.config.bos_token_id = end
    model.generation_config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=end, eos_token_id=end
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
