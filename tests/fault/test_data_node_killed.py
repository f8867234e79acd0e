"""The data engine on two Ray nodes, one of them killed in the middle: the same rows and tokens as on one machine."""

import json
import os
import random
import subprocess
import sys

import pytest

from components.data.engine import run
from components.data.engine.run import pack_corpus
from components.models.tokenizer import train_bpe
from components.recipes import Pack, TextRules

pytest.importorskip("ray", reason="Ray is an extra: pip install 'banyan-llm[ray]'")


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_changes_nothing(tmp_path, monkeypatch):
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=draw.randrange(2, 9))) for _ in range(500)]
    texts = [" ".join(draw.choices(words, k=90)) for _ in range(600)]
    texts += [text.replace(" ", " changed ", 1) for text in texts[::7]]
    (tmp_path / "raw.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), "utf-8")
    train_bpe(texts[:50], 500).save_pretrained(tmp_path / "tokenizer")
    rules = TextRules(near_duplicate_threshold=0.8)
    recipe = Pack(name="x", inputs=(tmp_path / "raw.jsonl",), tokenizer=tmp_path / "tokenizer", rules=rules)
    monkeypatch.setattr(run, "run_parts", lambda job, arguments, **_: (job(**one) for one in arguments))
    here = pack_corpus(recipe, folder=tmp_path / "here", part_bytes=1 << 14)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fault.data_on_ray",
            recipe.model_dump_json(),
            str(tmp_path / "ray"),
            str(1 << 14),
        ],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    assert facts["done_when_it_died"] < facts["parts"]
    assert (facts["alive"], facts["nodes"]) == (1, 2)
    assert (facts["rows_in"], facts["rows_kept"], facts["rejects"]) == (here.rows_in, here.rows_kept, here.rejects)
    for name in ("train.tokens", "train.documents", "heldout.tokens", "heldout.documents"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
