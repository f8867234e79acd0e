"""The pipeline as a user of Ray Data writes it: `map_batches` over blocks of Arrow on a local cluster of two CPUs."""

import os
import shutil
import tempfile
from collections import Counter

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0")

import fsspec.implementations.http  # noqa: F401  # Ray imports it in several threads at once, and one of them sees half of it
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from tokenizers import Tokenizer

from components.data.cleaning import clean_code
from components.data.privacy import mask_all
from components.data.quality import gopher_reason
from tests.benchmarks.data_peers.near_duplicates import first_of_its_kind, signatures
from tests.benchmarks.data_peers.protocol import END, NUM_HASHES, WORKERS, begin


def prepare(batch: pa.Table) -> pa.Table:
    texts = [clean_code(text) for text in batch["text"].to_pylist()]
    reasons = [gopher_reason(text) for text in texts]
    return pa.table({"id": batch["id"], "text": texts, "reason": reasons})


def sign(batch: pa.Table) -> pa.Table:
    good = batch.filter(pc.equal(batch["reason"], ""))
    flat = pa.array(signatures(good["text"].to_pylist()).ravel())
    return pa.table({"id": good["id"], "signature": pa.FixedSizeListArray.from_arrays(flat, NUM_HASHES)})


class Encode:
    """An actor, so that the tokenizer is loaded once."""

    def __init__(self, path: str, unique: set[str]) -> None:
        self.unique = unique
        self.tokenizer = Tokenizer.from_file(path)
        self.tokenizer.encode_special_tokens = True
        self.end = self.tokenizer.token_to_id(END)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True)
        texts = mask_all([text for name, text in rows if name in self.unique])
        found = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        tokens = [np.array([*encoding.ids, self.end], np.uint16) for encoding in found]
        return pa.table({"tokens": pa.array(tokens, pa.list_(pa.uint16()))})


def main() -> None:
    scratch = tempfile.mkdtemp(prefix="ray-")  # a socket's path has 107 characters at most
    ray.init(num_cpus=WORKERS, include_dashboard=False, _temp_dir=scratch, logging_level="error", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        run = begin()
        with run.stage("read, normalise and filter"):
            rows = ray.data.read_parquet([str(path) for path in run.shards], override_num_blocks=32)
            prepared = rows.map_batches(prepare, batch_format="pyarrow", batch_size=200).materialize()
            reasons = [row["reason"] for row in prepared.select_columns(["reason"]).take_all()]
        with run.stage("MinHash"):
            signed = prepared.map_batches(sign, batch_format="pyarrow", batch_size=200)
            batches = list(signed.iter_batches(batch_format="pyarrow", batch_size=None))
            table = pa.concat_tables(batch for batch in batches if len(batch)).sort_by("id")
        with run.stage("near-duplicates"):
            flat = table["signature"].combine_chunks().flatten().to_numpy()
            first = first_of_its_kind(flat.reshape(-1, NUM_HASHES))
            unique = set(table["id"].filter(pa.array(first)).to_pylist())
        with run.stage("mask, tokenise and pack"):
            encoded = prepared.map_batches(
                Encode,
                fn_constructor_args=(str(run.tokenizer / "tokenizer.json"), unique),
                compute=ray.data.ActorPoolStrategy(size=WORKERS),
                batch_format="pyarrow",
                batch_size=200,
            )
            tokens = kept = 0
            with (run.folder / "tokens.bin").open("wb") as packed:
                for batch in encoded.iter_batches(batch_format="pyarrow", batch_size=None):
                    kept += len(batch)
                    for chunk in batch["tokens"].chunks:
                        ids = chunk.flatten().to_numpy()
                        tokens += len(ids)
                        packed.write(ids.tobytes())
        rejected = Counter(reason for reason in reasons if reason)
        rejected["near-duplicate"] = int((~first).sum())
        run.finish(rows_in=len(reasons), rejected=rejected, rows_kept=kept, tokens=tokens)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
