import json
from types import SimpleNamespace

import pytest

from components import names
from components.data import build
from components.data.privacy import Span
from components.errors import RecipeError
from components.tasks import get_task
from components.tasks.base import Answer


class Task:
    """What the entities task answers for a text, without a network."""

    def answer(self, model, tokenizer, texts):
        found = []
        for text in texts:
            spans = [
                {"start": text.index(name), "end": text.index(name) + len(name), "text": name, "type": kind}
                for name, kind in (("Ada", "Person"), ("London", "place"))
                if name in text
            ]
            found.append(Answer(json.dumps(spans), 1.0))
        return found


def test_of_what_the_model_marks_only_persons_are_names():
    finder = names.NameFinder("banyan-people@3", Task(), None, None)
    assert finder(["Ada is in London", "nobody"] * 50) == [[Span("NAME", 0, 3)], []] * 50


def test_a_network_is_asked_as_the_task_asks_it():
    import torch
    import transformers

    from components.models.tokenizer import train_bpe

    torch.manual_seed(0)
    task = get_task("entities")
    tokenizer = train_bpe(["Ask Ada about London and the engine"] * 3, 300)
    tokenizer.model_max_length = 16
    marks = dict(enumerate(task.outputs(["person", "place"])))
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.5, id2label=marks, label2id={v: k for k, v in marks.items()},
    )  # fmt: skip
    network = transformers.BertForTokenClassification(config).eval()
    texts = ["Ask Ada Lovelace of London about the engine.", "", "Ada 北京"]
    told = [json.loads(answer.output) for answer in task.answer(network, tokenizer, texts)]
    persons = [[(s["start"], s["end"]) for s in spans if s["type"] == "person"] for spans in told]
    found = names.NameFinder("m@1", task, network, tokenizer)(texts)
    assert [[(span.start, span.end) for span in spans] for spans in found] == persons
    assert any(persons)


def test_an_ingest_masks_the_names_that_the_model_of_its_recipe_finds(settings, own, jsonl, rows):
    asked = []

    def model(which):
        asked.append(which)
        return names.NameFinder("banyan-people@3", Task(), None, None)

    given = [{"text": f"{row['text']} says Ada", "label": row["label"]} for row in rows]
    given.append({"text": "Ada has no label", "label": ""})
    recipe = own(jsonl(given), names_model="banyan-people")
    report = build.build(recipe, settings=settings, names=model)
    assert asked == ["banyan-people"]
    assert report.inputs["things"].names_model == "banyan-people@3"
    assert report.changed["things"]["names masked"] == len(rows)
    texts = build.read_split(report.staging_dir, "things", "train")["text"]
    assert all(text.endswith("says [NAME_1]") for text in texts)
    assert build.read_rejects(report.rejects_path)["text"].tolist() == ["[NAME_1] has no label"]


def test_a_recipe_that_asks_for_a_model_where_there_is_no_registry_is_refused(settings, own, jsonl):
    with pytest.raises(RecipeError, match="names_model needs the registry"):
        build.build(own(jsonl(), names_model="banyan-people"), settings=settings)


@pytest.mark.parametrize(
    ("task", "labels", "which", "says"),
    [
        ("entities", ("O", "B-library"), "banyan-people@1", "marks library"),
        ("classification", (), "banyan-people@1", "is a model of classification"),
        ("entities", ("O", "B-PER"), "banyan-people", "has no champion"),
        ("entities", ("O", "B-PER", "I-PER"), "banyan-people@1", ""),
    ],
)
def test_only_a_version_that_marks_persons_finds_names(settings, monkeypatch, task, labels, which, says):
    """The registry is another part's: what it answers is given here."""
    ref = SimpleNamespace(name="banyan-people", version=1)
    registry = SimpleNamespace(
        ref=lambda name, version: ref, champion=lambda name: None, fetch=lambda ref, workspace: None,
        get=lambda ref: SimpleNamespace(task=task),
    )  # fmt: skip
    network = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(labels))))
    monkeypatch.setattr("components.registry.Registry", lambda url: registry)
    monkeypatch.setattr("components.supervisor.addresses", lambda settings: SimpleNamespace(mlflow=""))
    monkeypatch.setattr("components.models.pretrained.load_trained", lambda folder, task: (network, None))
    if says:
        with pytest.raises(RecipeError, match=says):
            names.find_names(which, settings=settings)
    else:
        assert names.find_names(which, settings=settings).model == "banyan-people@1"
        assert get_task("entities").columns[0] == "text"
