"""Heads that train in tens of milliseconds, on the demo's real rows: what `gate` and `brigade` need a thousand of.

MiniLM's weights are frozen and every text is embedded once (the mean of its last hidden states); a head is a logistic
regression on that. The rows are the table `library` of the demo's data, which is built if the workspace has none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components import assets
from components.data import versioning
from components.data.tables import read_split, table_info
from components.recipes import load_recipe
from components.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".bench"
SPLITS = ("train", "test", "pool", "reserve")


@dataclass(frozen=True)
class Rows:
    """The table's rows with their embeddings."""

    version: str
    labels: tuple[str, ...]
    frames: dict[str, pd.DataFrame]
    vectors: dict[str, np.ndarray]
    """Split → (rows, 384) float32."""


def library() -> Rows:
    """The demo's classification table, embedded."""
    settings = load_settings()
    ref = versioning.head(settings)
    if ref is None or "library" not in ref.tables:
        recipe = load_recipe(ROOT / "flows" / "recipes" / "demo-data.yaml")
        ref = versioning.ingest(recipe, settings=settings, progress=print)
    folder = versioning.path_of(ref, settings)
    frames = {split: read_split(folder, "library", split) for split in SPLITS}
    vectors = _vectors(frames, key=ref.tables["library"][:16], settings=settings)
    return Rows(ref.version, table_info(folder, "library").labels, frames, vectors)


def _vectors(frames: dict[str, pd.DataFrame], *, key: str, settings: Settings) -> dict[str, np.ndarray]:
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"minilm-{key}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return {split: kept[split] for split in frames}
    folder = assets.weights("minilm", settings=settings)
    found = {split: embed(list(frame["text"]), folder) for split, frame in frames.items()}
    np.savez(path, **found)
    return found


def embed(texts: list[str], folder: Path) -> np.ndarray:
    """(texts, 384): mean of the last hidden states over a text's tokens, at most 64 of them, as the demo's recipe."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.empty((len(texts), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            inputs = tokenizer(
                [texts[i] for i in batch], truncation=True, max_length=64, padding=True, return_tensors="pt"
            )
            hidden = model(**inputs).last_hidden_state  # (B, T, 384)
            mask = inputs["attention_mask"].unsqueeze(-1)
            out[batch] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    return out


def head(vectors: np.ndarray, labels: np.ndarray) -> object:
    """A trained head: predict(vectors) gives labels."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(vectors, labels)
