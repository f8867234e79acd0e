"""A training on two Ray nodes, one of them killed in the middle: the same bits as of two undisturbed workers here."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from components.data import tables
from components.recipes import Pretrain

pytest.importorskip("ray", reason="Ray is an extra: pip install 'banyan-llm[ray]'")
NUM_STEPS, KILLED_AT = 600, 60


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "data"
    text = "\n".join(f"def f{i}(x):\n    return x + {i}  # the shortest path between nodes" for i in range(80))
    rows = pd.DataFrame({"text": [text, text[::-1]], "source": "tests", "licence": "Apache-2.0", "group": "g"})
    rows["id"] = rows["text"].map(tables.content_id)
    for split, part in (("train", rows), ("heldout", rows.head(1))):
        tables.write_split(folder, "corpus", split, part, task="corpus")
    tables.write_table_info(folder, "corpus", task="corpus", labels=[], licences={"tests": "Apache-2.0"})
    return folder


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_of_a_training_changes_no_bit(corpus, tmp_path):
    recipe = Pretrain(
        name="corpus",
        num_steps=NUM_STEPS,
        batch_size=4,
        max_length_tokens=16,
        vocab_size=300,
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        learning_rate=1e-2,
        dropout=0.1,
        checkpoint_every_steps=20,
        evaluate_every_steps=NUM_STEPS,
        sample_tokens=4,
    )
    asked = [recipe.model_dump_json(), str(corpus), str(tmp_path / "runs"), str(KILLED_AT)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.training_on_ray", *asked],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    assert KILLED_AT // 2 < facts["resumed_from"] < NUM_STEPS, "the node died in the middle"
    assert facts["steps"][-1] == NUM_STEPS
    assert facts["told"] == ["a worker died: all were started again (1), from the last checkpoint"]
    assert (facts["sha256"], facts["losses"]) == (True, True)
    assert facts["parallel"] == "2 workers, ddp, gloo"
    assert not {"ray", "said.jsonl"} & set(facts["leftovers"])
