"""Training rows that are like an input: what the model may have learned its answer from."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_ROWS = 50_000
"""Rows that are compared, the first ones by id beyond."""
EMBED_WORK = 5e11
"""Floating-point operations that embedding rows may take, by 2 a parameter and token."""
MAX_TOKENS = 128
"""Of a row, for its embedding."""
CHARS_A_TOKEN = 3
BATCH = 32


def similar_rows(
    text: str,
    rows: "pd.DataFrame",
    *,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    number: int = 5,
) -> "tuple[list[tuple[int, float]], str]":
    """Positions of the `number` rows nearest to `text` with their cosine, nearest first; and by what they were found.

    The model's mean hidden states, less their mean over the rows compared (all of them point one way: Mu and
    Viswanath 2018, arXiv 1702.01417); where it has none, TF-IDF. Of more rows than may be embedded, those nearest by
    TF-IDF are. Ties go to the earlier row.

    Args:
        rows: column `text`, masked as a data version's tables are.
    """
    import numpy as np

    rows = rows.head(MAX_ROWS)
    if rows.empty or not text.strip():
        return [], "no rows to compare with"
    texts = [str(one) for one in rows["text"]]
    plain = _tf_idf(text, texts)
    order = np.argsort(-plain, kind="stable")
    room = _room(model, texts)
    chosen = np.sort(order[:room])
    vectors = _embedded(model, tokenizer, [text, *(texts[i] for i in chosen)]) if len(chosen) > 1 else None
    if vectors is None:
        return [(int(i), float(plain[i])) for i in order[:number]], f"TF-IDF over {len(texts)} rows"
    centred = vectors - vectors[1:].mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosine = centred[1:] @ centred[0]
    nearest = np.argsort(-cosine, kind="stable")[:number]
    of = (
        f"of the {len(chosen)} of {len(texts)} rows nearest by TF-IDF" if room < len(texts) else f"of {len(texts)} rows"
    )
    return [(int(chosen[i]), float(min(1.0, cosine[i]))) for i in nearest], f"mean hidden states {of}"


def _tf_idf(text: str, texts: list[str]) -> "np.ndarray[Any, Any]":
    """(N,) cosines. Every Chinese character is a word."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer  # 0.9 s to import

    try:
        vectors = TfidfVectorizer(sublinear_tf=True, tokenizer=_words, token_pattern=None).fit_transform([*texts, text])
    except ValueError:  # no word in any
        return np.zeros(len(texts))
    found: np.ndarray[Any, Any] = (vectors[:-1] @ vectors[-1].T).toarray()[:, 0]
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+", text)


def _room(model: "PreTrainedModel", texts: list[str]) -> int:
    """How many rows may be embedded."""
    parameters = max(1, sum(p.numel() for p in model.parameters()))
    tokens = min(MAX_TOKENS, max(1, sum(map(len, texts)) // CHARS_A_TOKEN // len(texts)))
    return min(len(texts), max(1, int(EMBED_WORK / (2 * parameters * tokens))))


def _embedded(
    model: Any, tokenizer: "PreTrainedTokenizerBase", texts: list[str]
) -> "np.ndarray[Any, np.dtype[Any]] | None":
    """(N, C) float32 means over each text's tokens; None of a model without hidden states of its own."""
    import numpy as np
    import torch

    states = _states(model)
    if states is None:
        return None
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))  # little padding
    ids = tokenizer(
        texts, truncation=True, max_length=min(MAX_TOKENS, int(tokenizer.model_max_length)), verbose=False,
        split_special_tokens=True,
    )["input_ids"]  # fmt: skip
    pad = int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0)
    found: dict[int, Any] = {}
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        length = max(1, *(len(ids[i]) for i in some))
        batch = torch.tensor([[*ids[i], *[pad] * (length - len(ids[i]))] for i in some])
        mask = torch.tensor([[1] * max(1, len(ids[i])) + [0] * (length - max(1, len(ids[i]))) for i in some])
        with torch.inference_mode():
            hidden = states(batch.to(model.device), mask.to(model.device)).float().cpu()  # (B, T, C)
        weight = mask[..., None]
        for i, vector in zip(some, (hidden * weight).sum(1) / weight.sum(1), strict=True):
            found[i] = vector.numpy()
    return np.stack([found[i] for i in range(len(texts))])


def _states(model: Any) -> Any:
    """(ids, mask) → (B, T, C); padding stands on the right, so a causal model needs no other positions."""
    if hasattr(model, "states"):  # a recurrent one
        return model.states
    body = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    if body is None or body is model:
        return None
    return lambda ids, mask: body(input_ids=ids, attention_mask=mask).last_hidden_state
