"""The pipeline as a user of Polars writes it: rules as expressions, MinHash by rensa over Polars' own hashes.

What has no expression, masking and tokenising, runs in two processes: threads would wait for each other.
"""

import multiprocessing
import os
from functools import cache

os.environ.update(POLARS_MAX_THREADS="2", RAYON_NUM_THREADS="2", TOKENIZERS_PARALLELISM="false")

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from components.data.privacy import mask_all
from tests.benchmarks.data_peers.near_duplicates import FACTOR, digests, first_of_its_kind
from tests.benchmarks.data_peers.protocol import END, WORKERS, begin

CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{200b}\x{200e}\x{200f}\x{2028}\x{2029}\x{feff}]"
EAST = r"[\x{3040}-\x{30ff}\x{3400}-\x{9fff}\x{f900}-\x{faff}]"
WORD = rf"[\w--{EAST}]+|{EAST}"
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BLANK = r"[^\S\n]"
CHUNK = 200


def clean_code(text: pl.Expr) -> pl.Expr:
    plain = text.str.replace_all("\r\n", "\n", literal=True).str.replace_all("\r", "\n", literal=True)
    plain = plain.str.normalize("NFC").str.replace_all(CONTROL, "")
    return plain.str.replace_all(rf"(?m){BLANK}+$", "").str.strip_chars("\n")


def gopher_reason(text: pl.Expr) -> pl.Expr:
    """The rules and thresholds of `components.data.quality.gopher_reason`, in its order."""
    space = text.str.count_matches(r"\s")
    letters = (text.str.len_chars() - space).cast(pl.Int64)
    east = 5 * text.str.count_matches(EAST).cast(pl.Int64) >= pl.max_horizontal(letters, 1)
    spaced = text.str.count_matches(r"\S+")
    words = pl.when(east).then(text.str.to_lowercase().str.count_matches(WORD)).otherwise(spaced).cast(pl.Int64)
    hashes = text.str.count_matches("#", literal=True)
    ellipses = text.str.count_matches("...", literal=True) + text.str.count_matches("…", literal=True)
    lines = text.str.count_matches(r"\S[^\n]*")
    bullets = text.str.count_matches(rf"(?m)^{BLANK}*[•‣▶◦▪\-*·–]")
    trailing = text.str.count_matches(rf"(?m)(?:\.\.\.|…){BLANK}*$")
    lettered = text.str.count_matches(r"[^\s\p{L}]*\p{L}\S*")
    lower = text.str.to_lowercase()
    stops = pl.sum_horizontal(lower.str.contains(rf"(?:^|[^a-z]){word}(?:[^a-z]|$)") for word in STOP_WORDS)
    return (
        pl.when(~words.is_between(50, 100_000))
        .then(pl.lit("Gopher, number of words"))
        .when(~east & ~(letters / words).is_between(3, 10))
        .then(pl.lit("Gopher, mean word length"))
        .when(pl.max_horizontal(hashes, ellipses) > 0.1 * words)
        .then(pl.lit("Gopher, symbols to words"))
        .when(bullets > 0.9 * lines)
        .then(pl.lit("Gopher, bullet lines"))
        .when(trailing > 0.3 * lines)
        .then(pl.lit("Gopher, lines that end in an ellipsis"))
        .when(~east & (lettered < 0.8 * words))
        .then(pl.lit("Gopher, words without letters"))
        .when(~east & (stops < 2))
        .then(pl.lit("Gopher, stop words"))
        .otherwise(pl.lit(""))
    )


def signatures(texts: pl.Series) -> np.ndarray:
    """(N, hashes); Polars hashes the words, numpy makes pairs of their hashes."""
    words = texts.str.to_lowercase().str.extract_all(WORD)
    counts = words.list.len().to_numpy().astype(np.int64)
    hashed = words.explode().hash().to_numpy()
    counts = np.maximum(counts, 1)  # an empty list explodes to one null
    pairs = hashed[:-1] * FACTOR + hashed[1:]
    within = np.ones(len(pairs), bool)
    within[np.cumsum(counts)[:-1] - 1] = False
    ends = np.concatenate([[0], np.cumsum(counts - 1)])
    return digests(pairs[within], ends.astype(np.uint64))


@cache
def load(path: str) -> Tokenizer:
    tokenizer = Tokenizer.from_file(path)
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(given: tuple[str, list[str]]) -> np.ndarray:
    path, texts = given
    tokenizer = load(path)
    end = tokenizer.token_to_id(END)
    found = tokenizer.encode_batch_fast(mask_all(texts), add_special_tokens=False)
    return np.array([token for encoding in found for token in (*encoding.ids, end)], np.uint16)


def main() -> None:
    run = begin()
    text = pl.col("text")
    with run.stage("read, normalise and filter"):
        rows = (
            pl.scan_parquet(run.shards)
            .with_columns(clean_code(text))
            .with_columns(gopher_reason(text).alias("reason"))
            .with_columns(pl.when(pl.col("reason") == "").then(text))
            .collect(engine="streaming")
        )
        reasons = rows["reason"].value_counts()
        good = rows.filter(pl.col("reason") == "").sort("id")
    with run.stage("MinHash"):
        signature = np.concatenate([signatures(part["text"]) for part in good.iter_slices(CHUNK)])
    with run.stage("near-duplicates"):
        first = first_of_its_kind(signature)
        unique = good.filter(pl.Series(first))
    with run.stage("mask, tokenise and pack"):
        tokenizer = str(run.tokenizer / "tokenizer.json")
        parts = ((tokenizer, part["text"].to_list()) for part in unique.iter_slices(CHUNK))
        tokens = 0
        spawn = multiprocessing.get_context("spawn")
        with (run.folder / "tokens.bin").open("wb") as packed, spawn.Pool(WORKERS) as pool:
            for ids in pool.imap(encode, parts):
                tokens += len(ids)
                packed.write(ids.tobytes())
    rejected = {reason: number for reason, number in reasons.iter_rows() if reason}
    rejected["near-duplicate"] = int((~first).sum())
    run.finish(rows_in=len(rows), rejected=rejected, rows_kept=len(unique), tokens=tokens)


if __name__ == "__main__":
    main()
