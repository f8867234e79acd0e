"""The pipeline by `components.data.engine`, on this machine with two workers."""

import os

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")

import daft  # noqa: F401  # before the clock, as the others' libraries

from components.data.engine.run import Resources, pack_corpus
from components.recipes import Pack, TextRules
from tests.benchmarks.data_peers.protocol import THRESHOLD, WORKERS, begin


def main() -> None:
    run = begin()
    recipe = Pack(
        name="bench",
        inputs=(run.shards[0].parent,),
        columns={"text": "text", "group": "id"},
        rules=TextRules(gopher=True, near_duplicate_threshold=THRESHOLD),
        mask=True,
        tokenizer=run.tokenizer,
    )
    report = pack_corpus(recipe, folder=run.folder / "packed", resources=Resources(num_workers=WORKERS), progress=print)
    run.seconds.update({stage: round(seconds, 3) for stage, seconds in report.seconds.items()})
    run.finish(
        rows_in=report.rows_in,
        rejected=report.rejects,
        rows_kept=report.rows_kept,
        tokens=sum(report.tokens.values()),
    )


if __name__ == "__main__":
    main()
