"""The pipeline as a user of Hugging Face `datasets` writes it: `map` and `filter` over batches in two processes."""

import os
from collections import Counter

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", HF_DATASETS_OFFLINE="1")

import numpy as np
from datasets import Dataset, Features, List, Value, disable_progress_bars, load_dataset
from tokenizers import Tokenizer

from components.data.cleaning import clean_code
from components.data.privacy import mask_all
from components.data.quality import gopher_reason
from tests.benchmarks.data_peers.near_duplicates import first_of_its_kind, signatures
from tests.benchmarks.data_peers.protocol import END, NUM_HASHES, WORKERS, begin


def prepare(batch: dict[str, list[str]]) -> dict[str, list[str]]:
    texts = [clean_code(text) for text in batch["text"]]
    return {"text": texts, "reason": [gopher_reason(text) for text in texts]}


def sign(batch: dict[str, list[str]]) -> dict[str, np.ndarray]:
    return {"signature": signatures(batch["text"])}


def encode(batch: dict[str, list[str]], tokenizer: Tokenizer) -> dict[str, list[np.ndarray]]:
    tokenizer.encode_special_tokens = True  # does not come through pickle
    end = tokenizer.token_to_id(END)
    found = tokenizer.encode_batch_fast(mask_all(batch["text"]), add_special_tokens=False)
    return {"tokens": [np.array([*encoding.ids, end], np.uint16) for encoding in found]}


def main() -> None:
    disable_progress_bars()
    run = begin()
    with run.stage("read"):
        rows: Dataset = load_dataset(
            "parquet", data_files=[str(path) for path in run.shards], split="train", cache_dir=str(run.folder / "cache")
        )
    with run.stage("normalise and filter"):
        prepared = rows.map(prepare, batched=True, batch_size=200, num_proc=WORKERS)
        reasons = prepared["reason"][:]
        good = prepared.select(np.flatnonzero([not reason for reason in reasons]))
    with run.stage("MinHash"):
        as_written = Features({"signature": List(Value("uint32"), length=NUM_HASHES)})
        signed = good.map(
            sign, batched=True, batch_size=200, num_proc=WORKERS, remove_columns=good.column_names, features=as_written
        )
        signature = signed.with_format("numpy")["signature"][:]
    with run.stage("near-duplicates"):
        first = first_of_its_kind(np.asarray(signature, np.uint32))
        unique = good.select(np.flatnonzero(first))
    with run.stage("mask and tokenise"):
        encoded = unique.map(
            encode,
            batched=True,
            batch_size=200,
            num_proc=WORKERS,
            remove_columns=unique.column_names,
            features=Features({"tokens": List(Value("uint16"))}),
            fn_kwargs={"tokenizer": Tokenizer.from_file(str(run.tokenizer / "tokenizer.json"))},
        )
    with run.stage("pack"):
        tokens = 0
        with (run.folder / "tokens.bin").open("wb") as packed:
            for batch in encoded.with_format("arrow").iter(batch_size=200):
                flat = batch["tokens"].combine_chunks().flatten().to_numpy()
                tokens += len(flat)
                packed.write(flat.tobytes())
    rejected = Counter(reason for reason in reasons if reason)
    rejected["near-duplicate"] = int((~first).sum())
    run.finish(rows_in=len(rows), rejected=rejected, rows_kept=len(encoded), tokens=tokens)


if __name__ == "__main__":
    main()
