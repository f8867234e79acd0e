"""A version in a server elsewhere, with small models: admitted by the parity gate, writing, leaving, and failing."""

import json
import socket
import time

import pytest

from components.errors import GatewayUnavailable, ParityMismatch, RecipeError, ServingError
from components.evaluation.parity_reference import reference
from components.recipes import Finetune
from components.refs import ModelRef
from components.serving.batching import Batcher
from components.serving.choice import choose
from components.serving.decoding import Sampling
from components.serving.engines import TorchEngine, registry_champions
from components.serving.engines_vllm import VllmEngine, served_name
from components.settings import Settings
from tests.unit.evaluation.test_parity import table, texts

from . import tiny_models
from .completions_server import Upstream, serving
from .tiny_models import TEXTS

REF = ModelRef(name="banyan-topics", version=3, run_id="r", weights_sha256="5" * 64)
RECIPE = Finetune(
    name="t", table="topics", base="tiny", num_steps=1, learning_rate=1e-3, task="summarisation",
    max_length_tokens=32, max_new_tokens=6,
)  # fmt: skip


class Version:
    """A trained version's folder, what the gate holds it against, and torch's answers."""

    def __init__(self, root) -> None:
        data = table(root / "data", task="summarisation", target=[text[::-1] for text in texts(60)])
        self.folder = tiny_models.writer(root / "model")
        expected = reference(RECIPE, model_dir=self.folder, weights_dir=self.folder, data_dir=data)
        self.admission = json.dumps({"reference": expected.model_dump()}).encode()
        self.torch = TorchEngine(REF, self.folder, task="summarisation")


@pytest.fixture(scope="module")
def version(tmp_path_factory) -> Version:
    return Version(tmp_path_factory.mktemp("version"))


@pytest.fixture(scope="module", params=["vllm", "echo", "llama"])
def upstream(request, version):
    with serving(Upstream(version.folder, served_name(REF), request.param)) as found:
        yield found


@pytest.fixture(scope="module")
def server(version):
    with serving(Upstream(version.folder, served_name(REF), "vllm")) as found:
        yield found


@pytest.fixture
def fresh(server):
    """The server as it was at first, for tests that make it fail."""
    yield server
    server.status, server.breaks_after, server.seconds_a_token = 200, None, 0.0


def asked(url: str, tmp_path, **more) -> Settings:
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace", engine="vllm", vllm_url=url, **more)


def chosen(version: Version, settings: Settings, folder=None):
    folder = folder or version.folder
    return choose(REF, folder, task="summarisation", settings=settings, tags={}, admission=lambda: version.admission)


@pytest.fixture
def engine(version, server) -> VllmEngine:
    return VllmEngine(REF, version.folder, task="summarisation", urls=[server.url])


def test_a_version_is_admitted_by_whichever_log_probabilities_its_server_gives(version, upstream, tmp_path):
    engine = chosen(version, asked(upstream.url, tmp_path))
    assert (engine.name, engine.instead) == ("vllm", "")
    assert engine.decoder.given == {"vllm": "prompt_logprobs", "echo": "echo", "llama": ""}[upstream.manner]
    assert len(str(engine.generation["tokenizer_sha256"])) == 64
    parity = engine.generation["parity"]
    assert parity["num_probes"] >= 100 and parity["largest_difference"] < 1e-3
    assert [one.output for one in engine.answer(TEXTS)] == [one.output for one in version.torch.answer(TEXTS)]
    for mine, other in zip(engine.answer(TEXTS), version.torch.answer(TEXTS), strict=True):
        assert mine.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_a_server_with_other_weights_under_the_name_is_blocked_and_torch_answers(version, tmp_path):
    other = tiny_models.writer(tmp_path / "other", seed=1)
    with serving(Upstream(other, served_name(REF), "vllm")) as found:
        engine = chosen(version, asked(found.url, tmp_path))
    assert engine.name == "torch" and "the parity gate blocks it" in engine.instead


def test_a_server_that_gives_no_log_probabilities_is_not_taken(version, tmp_path):
    with serving(Upstream(version.folder, served_name(REF), "mute")) as found:
        engine = chosen(version, asked(found.url, tmp_path))
    assert engine.name == "torch" and "cannot be held against the trainer" in engine.instead


def test_among_several_addresses_the_one_that_has_the_version_is_asked(version, server, tmp_path):
    with serving(Upstream(version.folder, "banyan-topics@2", "vllm")) as older, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        engine = VllmEngine(
            REF, version.folder, task="summarisation", urls=[nobody, older.url, server.url + "/v1"], key="secret"
        )
        assert len(engine.answer(TEXTS[:1])) == 1
        assert not older.bodies and {body["model"] for body in server.bodies} == {"banyan-topics@3"}
        assert server.keys[-1] == "Bearer secret"
        with pytest.raises(ServingError, match=r"no server has banyan-topics@3: .*ConnectError.* has banyan-topics@2"):
            VllmEngine(REF, version.folder, task="summarisation", urls=[nobody, older.url])


def test_an_address_where_nobody_answers_is_told_and_torch_answers(version, tmp_path):
    engine = chosen(version, asked("http://127.0.0.1:9", tmp_path))
    assert engine.name == "torch" and "gave no answer" in engine.instead


def test_vllm_without_an_address_is_an_error_at_the_start(tmp_path):
    with pytest.raises(RecipeError, match="needs an address") as found:
        registry_champions(Settings(BANYAN_WORKSPACE=tmp_path, engine="vllm"))
    assert "BANYAN_VLLM_URL" in found.value.remedy


def test_what_does_not_write_is_served_by_torch(tmp_path, server, version):
    folder = tiny_models.classifier(tmp_path / "c")
    engine = choose(
        REF, folder, task="classification", settings=asked(server.url, tmp_path), tags={},
        admission=lambda: version.admission,
    )  # fmt: skip
    assert engine.name == "torch" and "writes as causal models do" in engine.instead


def test_texts_are_told_piece_by_piece_and_a_seed_repeats_its_answer(engine):
    batcher = Batcher(engine)
    try:
        drawn = Sampling(max_tokens=12, temperature=2.0, seed=7)
        pieces: list[str] = []
        beside = [batcher.write(text, Sampling(max_tokens=6), lambda _: None) for text in TEXTS]
        first = batcher.write(TEXTS[0], drawn, pieces.append).done.result(30)
        assert first.text == "".join(pieces)
        assert batcher.write(TEXTS[0], drawn, lambda _: None).done.result(30).text == first.text
        wrote = [one.done.result(30).text for one in beside]
        assert wrote == [one.output for one in engine.answer(TEXTS)]
    finally:
        batcher.close()


def test_nothing_is_left_to_the_servers_own_defaults(engine, server):
    engine.answer(TEXTS[:1])
    body = server.bodies[-1]
    assert (body["temperature"], body["top_k"], body["repetition_penalty"], body["repeat_penalty"]) == (0, -1, 1.0, 1.0)
    assert isinstance(body["prompt"][0], int), "ids: nobody else's tokenizer has a say"


def test_a_text_that_is_cancelled_ends_the_servers_work_too(engine, fresh):
    fresh.seconds_a_token = 0.2
    left = fresh.num_left
    batcher = Batcher(engine)
    try:
        pieces: list[str] = []
        draft = batcher.write(TEXTS[1], Sampling(max_tokens=300), pieces.append)
        give_up = time.monotonic() + 60
        while not draft.ids and time.monotonic() < give_up:
            time.sleep(0.01)
        draft.cancel()
        assert draft.done.result(30).finish_reason == "cancelled"
        while fresh.num_left == left and time.monotonic() < give_up:
            time.sleep(0.01)
        assert fresh.num_left == left + 1
    finally:
        batcher.close()


@pytest.mark.parametrize("fault", ["status", "breaks", "silence"])
def test_a_server_that_fails_fails_that_text_and_is_asked_again_for_the_next(fault, version, fresh):
    engine = VllmEngine(REF, version.folder, task="summarisation", urls=[fresh.url], timeout_seconds=0.5)
    right = [one.output for one in engine.answer(TEXTS[:1])]
    if fault == "status":
        fresh.status = 500
    elif fault == "breaks":
        fresh.breaks_after = 1
    else:
        fresh.seconds_a_token = 2.0
    batcher = Batcher(engine)
    try:
        with pytest.raises(GatewayUnavailable, match="gave no answer of banyan-topics@3") as found:
            batcher.write(TEXTS[0], Sampling(max_tokens=6), lambda _: None).done.result(30)
        assert "cannot read" not in str(found.value), "a server's words may quote what was asked"
        fresh.status, fresh.breaks_after, fresh.seconds_a_token = 200, None, 0.0
        assert [batcher.submit(TEXTS[0]).result(30).output] == right
    finally:
        batcher.close()


def test_a_servers_shorter_memory_bounds_what_is_asked_of_it(engine):
    assert engine.max_new_tokens == 64 - 32


def test_blocked_torch_weights_may_not_be_served_when_the_server_is_down(version, tmp_path):
    from components.evaluation.parity import PARITY_TAG, Parity, Verdicts

    bad = Parity(
        engine="torch", precision="float32", passed=False, num_probes=1, num_values=1, largest=9.0, mean=9.0,
        tolerance=1.0, mean_tolerance=1.0,
    )  # fmt: skip
    tags = {PARITY_TAG: Verdicts(engines={"torch": bad}).model_dump_json()}
    with pytest.raises(ParityMismatch):
        choose(
            REF, version.folder, task="summarisation", settings=asked("http://127.0.0.1:9", tmp_path), tags=tags,
            admission=lambda: version.admission,
        )  # fmt: skip
