"""Texts that join and leave a batch: each is what it would be alone."""

import pytest
import torch

from components.refs import ModelRef
from components.serving.batching import Batcher
from components.serving.decoding import MAX_JOINS, Sampling, Written, certain
from components.serving.engines import TorchEngine

from .drafts import alone, draft, finish
from .tiny_models import TEXTS, classifier, writer

REF = ModelRef(name="banyan-summary", version=3, run_id="r", weights_sha256="a" * 64)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> TorchEngine:
    return TorchEngine(REF, writer(tmp_path_factory.mktemp("writer")), task="summarisation")


def written_alone(engine: TorchEngine, text: str, **sampling) -> Written:
    return alone(engine, text, **sampling).done.result(0)


def test_what_is_written_token_by_token_is_what_the_task_answers(engine):
    for text in TEXTS:
        [answer] = engine.answer([text])
        written = written_alone(engine, text)
        assert written.text == answer.output
        assert written.confidence == pytest.approx(answer.confidence, abs=1e-5)


def test_pieces_add_up_to_the_text_and_come_one_by_one(engine):
    pieces: list[str] = []
    one = draft(TEXTS[0], pieces, max_tokens=40)
    engine.decoder.join([one])
    finish(engine)
    assert "".join(pieces) == one.done.result(0).text
    assert len(pieces) > 3


def test_drafts_that_join_at_different_times_are_written_as_if_alone(engine):
    lengths = (3, 30, 9, 17)
    wanted = [written_alone(engine, TEXTS[i % 3], max_tokens=n) for i, n in enumerate(lengths)]
    drafts = [draft(TEXTS[i % 3], max_tokens=n) for i, n in enumerate(lengths)]
    decoder = engine.decoder
    decoder.join(drafts[:1])
    decoder.step()
    decoder.join(drafts[1:3])  # one shorter and one longer than what is there
    for _ in range(4):
        decoder.step()
    decoder.join(drafts[3:])
    finish(engine)
    assert [one.done.result(0).text for one in drafts] == [one.text for one in wanted]
    assert [one.done.result(0).num_tokens for one in drafts] == [one.num_tokens for one in wanted]


def test_a_cancelled_draft_leaves_with_what_was_written_and_the_others_go_on(engine):
    wanted = written_alone(engine, TEXTS[1], max_tokens=20)
    left, stays = draft(TEXTS[0], max_tokens=400), draft(TEXTS[1], max_tokens=20)
    engine.decoder.join([left, stays])
    engine.decoder.step()
    left.cancel()
    engine.decoder.step()
    written = left.done.result(0)
    assert (written.finish_reason, written.num_tokens) == ("cancelled", 2)
    finish(engine)
    assert stays.done.result(0).text == wanted.text


def test_sampling_is_a_function_of_its_seed_whoever_else_writes(engine):
    how = {"temperature": 1.5, "top_p": 0.95, "max_tokens": 12}
    first = written_alone(engine, TEXTS[0], seed=1, **how)
    mine, other = draft(TEXTS[0], seed=1, **how), draft(TEXTS[1], seed=2, **how)
    engine.decoder.join([other])
    engine.decoder.join([mine])
    finish(engine)
    assert mine.done.result(0).text == first.text
    assert len({written_alone(engine, TEXTS[0], seed=seed, **how).text for seed in range(6)}) > 1


def test_a_tiny_top_p_leaves_only_the_likeliest_token(engine):
    wanted = written_alone(engine, TEXTS[0], max_tokens=8)
    assert written_alone(engine, TEXTS[0], max_tokens=8, temperature=2.0, top_p=1e-6, seed=5).text == wanted.text


def test_an_answer_ends_before_a_stop_and_no_part_of_it_is_told(engine):
    whole = written_alone(engine, TEXTS[0], max_tokens=30).text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    pieces: list[str] = []
    one = draft(TEXTS[0], pieces, max_tokens=30, stop=(stop,))
    engine.decoder.join([one])
    finish(engine)
    written = one.done.result(0)
    assert written.text == "".join(pieces) == whole[: whole.index(stop)]
    assert written.finish_reason == "stop"


def test_the_length_is_kept_and_said(engine):
    written = written_alone(engine, TEXTS[0], max_tokens=4)
    assert (written.num_tokens, written.finish_reason) == (4, "length")
    assert written.num_prompt_tokens == engine.num_tokens(TEXTS[0])[0]


@pytest.mark.parametrize(
    ("text", "stop", "known"),
    [
        ("caf\ufffd", (), "caf"),
        ("one EN", ("END",), "one "),
        ("one EN", ("END", "ne EN!"), "o"),
        ("one END", ("ENDE",), "one "),
        ("one", ("x",), "one"),
    ],
)
def test_what_a_later_token_may_take_back_is_not_told_yet(text, stop, known):
    assert certain(text, stop) == known


def test_a_queue_writes_whoever_waits_and_one_bad_text_fails_alone(engine, monkeypatch):
    real = engine._task.prompts

    def picky(texts, tokenizer):
        if any(text == "bad" for text in texts):
            raise ValueError("bad")
        return real(texts, tokenizer)

    wanted = [written_alone(engine, text).text for text in TEXTS]
    monkeypatch.setattr(engine.decoder, "_task", type("Task", (), {
        "prompts": staticmethod(picky), "is_over": engine._task.is_over, "said": engine._task.said,
    }))  # fmt: skip
    batcher = Batcher(engine)
    drafts = [batcher.write(text, Sampling(max_tokens=6), lambda _: None) for text in [*TEXTS, "bad"]]
    assert [one.done.result(20).text for one in drafts[:3]] == wanted
    with pytest.raises(ValueError, match="bad"):
        drafts[3].done.result(20)
    batcher.close()


def test_closing_ends_no_text_early(engine):
    batcher = Batcher(engine)
    drafts = [batcher.write(text, Sampling(max_tokens=50), lambda _: None) for text in TEXTS]
    batcher.close()
    assert all(one.done.result(0).finish_reason != "cancelled" for one in drafts)


def test_a_classifier_does_not_write_and_has_embeddings_of_length_1(tmp_path):
    engine = TorchEngine(REF, classifier(tmp_path), task="classification")
    assert (engine.decoder, engine.max_new_tokens, engine.num_dimensions) == (None, 0, 16)
    together = engine.embed(TEXTS)
    assert [sum(x * x for x in vector) for vector in together] == pytest.approx([1.0] * 3, abs=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        assert engine.embed([text])[0] == pytest.approx(vector, abs=1e-5)  # padding has no part in it
    batcher = Batcher(engine)
    with pytest.raises(RuntimeError, match="does not write"):
        batcher.write("x", Sampling(max_tokens=1), lambda _: None)
    batcher.close()


def test_keys_and_values_are_written_into_their_room_and_are_what_copying_gives():
    from transformers.cache_utils import DynamicLayer

    from components.serving.growing_cache import GrowingLayer

    first, plain = torch.rand(3, 2, 5, 4), DynamicLayer()
    plain.update(first, first)
    layer = GrowingLayer(first.clone(), first.clone())
    places = []
    for number in range(100):
        if number == 50:  # a row leaves, and padding with it: both hold new tensors from here on
            for one in (plain, layer):
                one.keys, one.values = one.keys[[0, 2]][:, :, 3:], one.values[[0, 2]][:, :, 3:]
        new = torch.rand(3 if number < 50 else 2, 2, 1, 4)
        assert torch.equal(plain.update(new, 2 * new)[0], layer.update(new, 2 * new)[0])
        assert torch.equal(plain.values, layer.values) and plain.get_seq_length() == layer.get_seq_length()
        places.append(layer.keys.data_ptr())
    assert len(set(places)) <= 4, "a place is left when its room is full, not at each token"


def test_a_crowd_joins_in_parts_between_the_tokens_of_those_that_came_before(engine, monkeypatch):
    joined: list[int] = []
    join = engine.decoder.join
    monkeypatch.setattr(engine.decoder, "join", lambda drafts: joined.append(len(drafts)) or join(drafts))
    right = engine.answer(TEXTS[:1])[0].output
    batcher = Batcher(engine)
    try:
        drafts = [batcher.write(TEXTS[0], Sampling(max_tokens=6), lambda _: None) for _ in range(13)]
        assert {one.done.result(30).text for one in drafts} == {right}
    finally:
        batcher.close()
    assert sum(joined) == 13 and max(joined) <= MAX_JOINS


def test_what_a_seed_draws_hardly_depends_on_how_a_batch_rounds(engine):
    generator = torch.Generator().manual_seed(0)
    same = 0
    for number in range(200):
        logits = torch.randn(2000, generator=generator).bfloat16().float()  # many are nearly as likely
        drawn = []
        for noise in (0.0, 0.01):
            one = draft("x", temperature=0.8, top_p=0.9, seed=number)
            one.generator = torch.Generator().manual_seed(number)
            drawn.append(engine.decoder._choose(one, logits + noise * torch.randn(2000, generator=generator)))
        same += drawn[0] == drawn[1]
    assert same >= 180, same
