"""Families that are no transformers, or carry more than keys and values along: served token by token like any other."""

import json
import time

import pytest
import torch
from fastapi.testclient import TestClient

from components.errors import ServingError
from components.ledger.store import Ledger
from components.refs import ModelRef
from components.serving.app import create_app
from components.serving.batching import Batcher
from components.serving.champions import Champions
from components.serving.choice import export
from components.serving.decoding import Sampling
from components.serving.engines import TorchEngine
from components.settings import Settings

from .drafts import alone, draft, finish
from .tiny_models import TEXTS, own_writer

REF = ModelRef(name="banyan-generation", version=1, run_id="r", weights_sha256="a" * 64)
FAMILIES = ["rnn", "lstm", "gru", "feedforward", "ngram_gpt"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=FAMILIES)
def engine(request, tmp_path_factory) -> TorchEngine:
    folder = own_writer(tmp_path_factory.mktemp(request.param), request.param)
    return TorchEngine(REF, folder, task="generation")


def test_what_is_written_token_by_token_is_what_the_task_answers(engine):
    answers = engine.answer(list(TEXTS))
    for text, answer in zip(TEXTS, answers, strict=True):
        one = alone(engine, text)
        assert one.done.result(0).text == answer.output
        assert one.done.result(0).confidence == pytest.approx(answer.confidence, abs=1e-5)


@pytest.mark.parametrize("how", [{}, {"temperature": 1.5, "top_p": 0.95, "seed": 3}])
def test_texts_that_join_and_leave_at_different_times_get_the_tokens_they_get_alone(engine, how):
    lengths = (3, 30, 9, 17)
    wanted = [alone(engine, TEXTS[i % 3], max_tokens=n, **how).ids for i, n in enumerate(lengths)]
    drafts = [draft(TEXTS[i % 3], max_tokens=n, **how) for i, n in enumerate(lengths)]
    decoder = engine.decoder
    decoder.join(drafts[:1])
    decoder.step()
    decoder.join(drafts[1:3])  # one shorter and one longer than what is there
    for _ in range(4):
        decoder.step()
    decoder.join(drafts[3:])
    finish(engine)
    assert [one.ids for one in drafts] == wanted


def test_one_that_is_cancelled_leaves_and_the_others_keep_their_own_states(engine):
    wanted = alone(engine, TEXTS[1], max_tokens=20).ids
    left, stays = draft(TEXTS[0], max_tokens=400), draft(TEXTS[1], max_tokens=20)
    engine.decoder.join([left, stays])
    engine.decoder.step()
    left.cancel()
    finish(engine)
    assert stays.ids == wanted


def test_a_crowd_is_written_by_one_worker_as_each_alone(engine):
    wanted = {text: alone(engine, text, max_tokens=12).ids for text in TEXTS}
    batcher = Batcher(engine)
    drafts = [batcher.write(TEXTS[i % 3], Sampling(max_tokens=12), lambda _: None) for i in range(9)]
    for i, one in enumerate(drafts):
        one.done.result(60)
        assert one.ids == wanted[TEXTS[i % 3]]
    batcher.close()


def test_the_gateway_streams_it_and_gives_a_receipt_whose_replay_is_the_same(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    settings = Settings()
    champions = Champions(find=lambda: {"generation": REF}, load=lambda *_: engine, poll_seconds=0.01)
    asked = {"model": "generation", "prompt": TEXTS[0], "max_tokens": 24, "temperature": 0.8, "seed": 5}
    with (
        Ledger(settings) as ledger,
        TestClient(create_app(settings, champions=champions, ledger=ledger), base_url="http://127.0.0.1") as client,
    ):
        give_up = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < give_up
            time.sleep(0.005)
        lines = client.post("/v1/completions", json=asked | {"stream": True}).text.splitlines()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        whole = client.post("/v1/completions", json=asked).json()
        kept = ledger.answer(chunks[0]["id"])
    pieces = [chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"]]
    assert "".join(pieces) == whole["choices"][0]["text"] == kept.output
    assert len([piece for piece in pieces if piece]) > 1
    assert whole["receipt"]["weights_sha256"] == REF.weights_sha256
    assert kept.generation["seed"] == 5


@pytest.mark.parametrize("family", ["lstm", "ngram_gpt"])
def test_engines_of_keys_and_values_alone_leave_it_to_torch(family, tmp_path):
    folder = own_writer(tmp_path / family, family)
    with pytest.raises(ServingError, match="plain keys and values"):
        export(folder, task="generation", folder=tmp_path / "graph")
