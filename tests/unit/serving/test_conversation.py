"""Conversations over the workspace's documents, by OpenAI's shape of request, with real (tiny) models."""

import json
import time

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from components.data import manifests, versioning
from components.data.tables import write_split, write_table_info
from components.knowledge import Graph
from components.knowledge_files import save
from components.ledger.store import Ledger
from components.models.tokenizer import train_bpe
from components.refs import DataRef, ModelRef
from components.retrieval.index import Found
from components.retrieval.passages import Passage
from components.serving.app import create_app
from components.serving.champions import Champions
from components.serving.conversation import Asked, citations_of, query_of, retrieved, turns_of
from components.serving.engines import TorchEngine
from components.serving.messages import MAX_INPUT_CHARS
from components.serving.problems import Unprocessable
from components.settings import Settings
from components.tasks.dialogue import NOT_SAID, conversation_of

from .tiny_models import LABELS, classifier, writer

DOCUMENTS = {
    "fig.md": "A banyan is a fig tree. It drops roots from its branches.",
    "oak.md": "An oak is a tree. Oaks bear acorns in autumn.",
    "pine.md": "A pine is a conifer. Pines bear cones.",
}


def ref(table: str) -> ModelRef:
    return ModelRef(name=f"banyan-{table}", version=1, run_id="r", weights_sha256="1" * 64)


def pointer(folder):
    """A span model of a few random weights that finds something everywhere."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    tokenizer = train_bpe(list(DOCUMENTS.values()) * 3, vocab_size=300)
    tokenizer.model_max_length = 96
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, initializer_range=1.0)  # fmt: skip
    model = BertForQuestionAnswering(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder = tmp_path_factory.mktemp
    return {
        ref("talk"): TorchEngine(ref("talk"), writer(folder("w")), task="dialogue"),
        ref("questions"): TorchEngine(ref("questions"), pointer(folder("p")), task="question_answering"),
        ref("library"): TorchEngine(ref("library"), classifier(folder("c")), task="classification"),
    }


@pytest.fixture
def installation(tmp_path, monkeypatch, engines):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    settings = Settings()
    folder = tmp_path / "version"
    rows = [{"id": f"{i:016d}", "text": text, "source": "trees", "licence": "ours", "group": name}
            for i, (name, text) in enumerate(DOCUMENTS.items())]  # fmt: skip
    write_split(folder, "trees", "train", pd.DataFrame(rows), task="corpus")
    write_table_info(folder, "trees", task="corpus", labels=(), licences={})
    data = DataRef(version="f" * 32, tables={"trees": "0" * 64})
    monkeypatch.setattr(manifests, "head", lambda _: data)
    monkeypatch.setattr(versioning, "path_of", lambda *_: folder)
    (settings.workspace.data / "manifests").mkdir(parents=True)
    (settings.workspace.data / "manifests" / f"{data.version}.json").touch()
    graph = Graph()
    graph.add(("oak", "thing"), "is_a", ("tree", "thing"), sentence="An oak is a tree.", document="oak.md")
    graph.add(("pine", "thing"), "is_a", ("tree", "thing"), sentence="Pines are trees.", document="pine.md")
    save(graph, "trees", settings=settings)
    champions = Champions(
        find=lambda: {one.name.removeprefix("banyan-"): one for one in engines},
        load=lambda _, one: engines[one],
        poll_seconds=0.01,
    )
    with (
        Ledger(settings) as ledger,
        TestClient(create_app(settings, champions=champions, ledger=ledger), base_url="http://127.0.0.1") as client,
    ):
        give_up = time.monotonic() + 60
        while len(client.get("/v1/models").json()["data"]) < len(engines):
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield client, ledger


def chat(installation, model: str, *messages: str, **more):
    roles = ["user", "assistant"] * len(messages)
    said = [{"role": role, "content": text} for role, text in zip(roles, messages, strict=False)]
    return installation[0].post("/v1/chat/completions", json={"model": model, "messages": said, **more})


def test_a_dialogue_is_shown_what_was_retrieved_and_the_ledger_keeps_all_of_it(installation):
    reply = chat(installation, "talk", "What is a tree?", "A plant.", "And what bears acorns in autumn?", retrieve=2)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert body["retrieved"][0]["document"] == "oak.md"
    assert body["retrieved"][0]["number"] == 1
    kept = conversation_of(installation[1].raw_prompt(body["id"]))
    assert kept.turns == ("What is a tree?", "A plant.", "And what bears acorns in autumn?")
    assert kept.passages[0] == DOCUMENTS["oak.md"]
    assert len(kept.passages) == 2


def test_every_turn_can_be_rated(installation):
    first = chat(installation, "talk", "What is a tree?").json()
    second = chat(
        installation, "talk", "What is a tree?", first["choices"][0]["message"]["content"] or "x", "Why?"
    ).json()
    for body, kind in ((first, "reject"), (second, "approve")):
        sent = installation[0].post("/v1/feedback", json={"request_id": body["id"], "kind": kind})
        assert sent.status_code == 200
    assert first["id"] != second["id"]


def test_a_stream_ends_with_what_was_retrieved(installation):
    reply = chat(installation, "talk", "What bears acorns?", retrieve=1, stream=True, max_tokens=4)
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["retrieved"][0]["document"] == "oak.md"
    assert "receipt" in events[-1]


def test_question_answering_points_into_the_document_and_cites_its_sentence(installation):
    body = chat(installation, "questions", "Which tree bears acorns in autumn?", retrieve=3).json()
    [place] = body["citations"]
    text = DOCUMENTS[place["document"]]
    assert text[place["start"] :].startswith(place["sentence"])
    said = body["choices"][0]["message"]["content"]
    assert said.endswith(f"[{place['number']}]")
    kept = installation[1].answer(body["id"])
    assert json.loads(kept.output)["answer"] in place["sentence"]
    assert kept.text.partition("\n")[2] == text


def test_what_no_document_speaks_of_is_refused_with_a_reason(installation):
    reply = chat(installation, "questions", "zzzz qqqq?", retrieve=3)
    assert reply.status_code == 422
    assert "nothing in the documents" in reply.json()["error"]["message"]


def test_a_graph_adds_related_documents_and_an_unknown_one_is_named(installation):
    body = chat(installation, "questions", "Which tree bears acorns in autumn?", retrieve=1, graph="trees").json()
    assert body["citations"][0]["document"] == "oak.md"
    assert [one["document"] for one in body["related"]] in ([], ["pine.md"])
    assert "no graph 'none'" in chat(installation, "talk", "oak?", retrieve=1, graph="none").json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("library", {"retrieve": 2}),
        ("library", {"graph": "trees"}),
        ("talk", {"graph": "trees"}),
        ("questions", {"retrieve": 2, "temperature": 0.5}),
        ("talk", {"retrieve": 99}),
        ("talk", {"retrieve": 1, "graph": "../../etc/passwd"}),
    ],
)
def test_what_would_have_no_effect_or_cannot_be_is_refused(installation, model, more):
    assert chat(installation, model, "What is a tree?", **more).status_code == 422


def test_question_answering_without_retrieval_is_what_it_was(installation):
    body = chat(installation, "questions", "What bears cones?\nA pine is a conifer. Pines bear cones.").json()
    assert "answer" in json.loads(body["choices"][0]["message"]["content"])
    assert chat(installation, "library", "a", "b", "c").status_code == 422
    assert LABELS


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([("user", "a")], ("a",)),
        ([("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")], ("a", "b", "c")),
        ([("assistant", "hello"), ("user", "a")], ("a",)),
        ([("user", "a"), ("user", "b")], ("a\nb",)),
    ],
)
def test_messages_become_turns(messages, turns):
    assert turns_of(messages)[0] == turns


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "a"), ("assistant", "b")],
        [("user", " ")],
        [("user", "a"), ("system", "s"), ("user", "b")],
        [("tool", "a"), ("user", "b")],
        [("system", "s")],
    ],
)
def test_messages_that_make_no_conversation_are_refused(messages):
    with pytest.raises(Unprocessable):
        turns_of(messages)


def test_a_short_turn_is_looked_for_together_with_the_one_before():
    assert query_of(("What is an oak?", "A tree.", "And its fruit?")) == "What is an oak? And its fruit?"
    long = "What do the roots of a banyan become after some years?"
    assert query_of(("What is an oak?", "A tree.", long)) == long


@pytest.mark.parametrize(
    ("turns", "looked_for"),
    [
        (
            ("What is the default of alpha in pagerank?", "0.85", "And what is the default of beta, please?"),
            (0, 2),
        ),
        (("What is an oak?", "A tree.", "In which of the months of the year do its acorns fall?"), (0, 2)),
        (("What is an oak?", "A tree.", "And a fig?", "A tree.", "And a pine?"), (0, 2, 4)),
        (("What is an oak?", "A tree.", "Which of all the trees of a forest bears cones?", "A pine.", "Why?"), (2, 4)),
        (("a1?", "b", "a2?", "b", "a3?", "b", "a4?"), (2, 4, 6)),
    ],
)
def test_a_turn_that_leans_on_others_is_looked_for_with_them(turns, looked_for):
    assert query_of(turns) == " ".join(turns[i] for i in looked_for)


def test_the_model_is_shown_what_a_passage_stands_under():
    passage = Passage("walks.py", 7, "alpha : float, default 0.85", heading="pagerank")
    asked = Asked(("Which alpha?",), "", (Found(passage, 1.0, 1),))
    assert conversation_of(asked.as_text()).passages == ("pagerank: alpha : float, default 0.85",)
    [row] = retrieved(asked)
    assert (row["heading"], row["text"], row["start"]) == ("pagerank", passage.text, 7)


def test_only_passages_that_were_shown_can_be_cited():
    asked = Asked(("What bears acorns?",), "", (Found(Passage("oak.md", 0, DOCUMENTS["oak.md"]), 1.0, 1),))
    assert citations_of(asked, NOT_SAID) == []
    assert citations_of(asked, "Oaks do. [0]") == []
    [place] = citations_of(asked, "Oaks do. [1] [7]")
    assert (place["document"], place["sentence"]) == ("oak.md", "Oaks bear acorns in autumn.")


@pytest.mark.parametrize(
    ("turns", "answer", "sentence"),
    [
        (("Which walk?",), "True [1]", "The default of normed is True."),
        (("Which step?",), "1 [1]", "A weight is 1 where none is given."),
        (("What ends a walk?", "Its length [1]", "And its start?"), "None [1]", "A walk has None at all."),
    ],
)
def test_a_cited_sentence_holds_the_answer_and_not_the_number_of_its_passage(turns, answer, sentence):
    text = (
        "See walk_1 and step 1.5 first. None of it is old. The default of normed is True. "
        "A weight is 1 where none is given. A walk has None at all."
    )
    asked = Asked(turns, "", (Found(Passage("walks.md", 0, text), 1.0, 1),))
    assert [place["sentence"] for place in citations_of(asked, answer)] == [sentence]


@pytest.mark.parametrize(
    ("answer", "is_verbatim"),
    [("An oak bears acorns. [1]", False), ("In autumn. [1]", True), ("bear\nacorns [1]", True), ("corns [1]", False)],
)
def test_a_citation_tells_whether_its_passage_has_the_answer_word_for_word(answer, is_verbatim):
    found = Found(Passage("oak.md", 0, DOCUMENTS["oak.md"], heading="Oaks"), 1.0, 1)
    [place] = citations_of(Asked(("What bears acorns?",), "", (found,)), answer)
    assert (place["verbatim"], place["heading"]) == (is_verbatim, "Oaks")


def test_a_history_longer_than_a_request_may_be_loses_its_oldest_turns():
    turns = tuple(f"turn {i} " + "x" * 400 for i in range(101))
    text = Asked(turns).as_text()
    assert len(text) <= MAX_INPUT_CHARS
    kept = conversation_of(text).turns
    assert kept == turns[-len(kept) :]
    assert len(kept) > 10
