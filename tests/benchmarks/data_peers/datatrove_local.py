"""The pipeline as a user of datatrove writes it: four executors of two tasks each, as in its FineWeb example.

Its MinHash compares no pairs: documents with a bucket in common are duplicates. So it gets the same number of hashes
in fewer and longer buckets, whose half-way point is the threshold: 1 − (1 − 0.8¹²)⁹ = 0.48.
"""

import os

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")

import json
from pathlib import Path

import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters.base import BaseFormatter
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer

from components.data.cleaning import clean_code
from components.data.privacy import mask
from components.data.quality import gopher_reason
from tests.benchmarks.data_peers.protocol import END, NUM_HASHES, WORD, WORKERS, begin

NUM_BUCKETS = 9
AS_GIVEN = TextNormConfig(
    lowercase=False,
    norm_whitespace=False,
    remove_punctuation=False,
    norm_unicode_diacritics=False,
    norm_numbers=False,
)


class Words(WordTokenizer):
    """The words of all other sides; faster than the default, NLTK's."""

    def word_tokenize(self, text: str) -> list[str]:
        return WORD.findall(text.casefold())

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in WORD.finditer(text)]


class Normalise(BaseFormatter):
    name = "Normalise"

    def format(self, text: str) -> str:
        return clean_code(text)


class Gopher(BaseFilter):
    name = "Gopher"

    def filter(self, doc):
        reason = gopher_reason(doc.text)
        return (False, reason) if reason else True


class Mask(BaseFormatter):
    name = "Mask"

    def format(self, text: str) -> str:
        return mask(text)


def counts(logs: Path) -> dict[str, dict[str, int]]:
    """Step → statistic → total, as an executor writes them."""
    steps = json.loads((logs / "stats.json").read_text())
    total = lambda value: value["total"] if isinstance(value, dict) else value  # noqa: E731
    return {step["name"]: {name: total(value) for name, value in step["stats"].items()} for step in steps}


def main() -> None:
    from loguru import logger

    logger.remove()
    run = begin()
    folder = run.folder
    config = MinhashConfig(
        n_grams=2, num_buckets=NUM_BUCKETS, hashes_per_bucket=NUM_HASHES // NUM_BUCKETS, norm_config=AS_GIVEN
    )

    def execute(name: str, *pipeline: PipelineStep, tasks: int = WORKERS) -> dict[str, dict[str, int]]:
        logs = folder / "logs" / name
        with run.stage(name):
            LocalPipelineExecutor([*pipeline], tasks=tasks, workers=min(tasks, WORKERS), logging_dir=str(logs)).run()
        return counts(logs)

    filtered = execute(
        "read, normalise, filter and MinHash",
        ParquetReader(str(run.shards[0].parent), glob_pattern="*.parquet", batch_size=200),
        Normalise(),
        Gopher(),
        JsonlWriter(str(folder / "filtered"), compression=None),
        MinhashDedupSignature(str(folder / "signatures"), config=config, language=Words()),
    )
    execute(
        "buckets",
        MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config),
        tasks=NUM_BUCKETS,
    )
    execute("clusters", MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config), tasks=1)
    packed = execute(
        "mask, tokenise and pack",
        JsonlReader(str(folder / "filtered")),
        MinhashDedupFilter(str(folder / "remove")),
        Mask(),
        DocumentTokenizer(
            str(folder / "tokens"),
            str(run.tokenizer / "tokenizer.json"),
            eos_token=END,
            batch_size=1000,
            shuffle_documents=False,
        ),
    )
    files = [*(folder / "tokens").rglob("*.ds")]
    tokens = sum(np.memmap(path, np.uint16, "r").size for path in files)
    gopher = next(stats for name, stats in filtered.items() if "Gopher" in name)
    dedup = next(stats for name, stats in packed.items() if "MinHash" in name)
    rejected = {name.removeprefix("dropped_"): total for name, total in gopher.items() if name.startswith("dropped_")}
    rejected["near-duplicate"] = dedup.get("dropped", 0)
    run.finish(rows_in=gopher["total"], rejected=rejected, rows_kept=dedup["forwarded"], tokens=tokens)


if __name__ == "__main__":
    main()
