"""The public sets of the tasks' benchmark are read as their publishers write them; small files of the same shape."""

import json

import pytest

from components.evaluation.on_file import rows_of
from components.recipes import FileSource, Ingest
from components.tasks import get_task
from tests.benchmarks import tasks as bench

SENTENCE = ["How does loss scaling help?", "It keeps small gradients."]
SQUAD = {
    "data": [
        {
            "title": "Panthers",
            "paragraphs": [
                {
                    "context": "The defense gave up 308 points.",
                    "qas": [
                        {
                            "question": "How many points?",
                            "id": "1",
                            "answers": [{"text": "308", "answer_start": 20}],
                        }
                    ],
                }
            ],
        }
    ]
}


@pytest.fixture
def sets(tmp_path):
    """The names and formats of WNUT-17, SciTLDR and XQuAD."""
    for name in ("wnut17", "scitldr", "xquad"):
        (tmp_path / name).mkdir()
    for name in ("wnut17train.conll", "emerging.test.annotated"):
        (tmp_path / "wnut17" / name).write_text("Empire\tB-location\nState\tI-location\n.\tO\n\t\nTall\tO\n")
    for name in ("train.jsonl", "dev.jsonl"):
        row = {"source": SENTENCE, "source_labels": [0, 1], "paper_id": "x", "target": ["Scaling helps."]}
        (tmp_path / "scitldr" / name).write_text(f"{json.dumps(row)}\n")
    (tmp_path / "xquad" / "xquad.en.json").write_text(json.dumps(SQUAD))
    return tmp_path


def sources(folder):
    for case in bench.public(folder):
        if isinstance(case.data, dict):
            yield from (one for one in Ingest.model_validate(case.data).sources if isinstance(one, FileSource))
        yield from case.tests.values()


def test_every_public_file_is_read_by_the_benchmarks_own_sources(sets):
    read = {}
    for source in sources(sets):
        rows, rejected = rows_of(source, get_task(source.task))
        assert not rejected
        read[source.path.name] = rows.iloc[0].to_dict()
    assert set(read) == {
        "wnut17train.conll", "emerging.test.annotated", "train.jsonl", "dev.jsonl", "xquad.en.json"
    }  # fmt: skip
    assert json.loads(read["emerging.test.annotated"]["entities"])[0]["text"] == "Empire State"
    assert read["dev.jsonl"]["text"].split() == " ".join(SENTENCE).split()
    assert json.loads(read["xquad.en.json"]["answers"])[0]["answer"] == "308"


def test_a_case_that_fails_is_told_beside_the_others(sets, tmp_path, monkeypatch, capsys):
    for path in sets.glob("*/*"):
        path.write_text("")
    monkeypatch.setattr(bench, "OWN", ())
    monkeypatch.setenv("PUBLIC", str(sets))
    monkeypatch.setenv("TASKS", "entities,summary")
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["tasks"]
    assert list(told) == ["entities, WNUT-17", "summarisation, SciTLDR"]
    assert all("error" in one for one in told.values())
