"""From an answer to its data, on a real registry and a real ledger; and the same answer again."""

import json
from datetime import UTC, datetime

import pytest

from components import lineage
from components.data.manifests import Manifest, SplitSummary
from components.errors import UsageError
from components.ledger.store import Ledger
from components.refs import DataRef, ModelRef
from components.registry import Registry
from components.serving.batching import Batcher
from components.serving.decoding import Sampling
from components.serving.engines import TorchEngine
from components.serving.gateway import receipt_of
from components.settings import Settings
from tests.unit.serving.tiny_models import TEXTS, writer

DATA = DataRef(version="d" * 32, tables={"summary": "5" * 64})


class Installation:
    """A registered writer, a data version's manifest, and a ledger."""

    def __init__(self, folder, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("BANYAN_WORKSPACE", str(folder / "workspace"))
        self.settings = Settings()
        workspace = self.settings.workspace
        workspace.mlflow.mkdir(parents=True)
        registry = Registry(f"sqlite:///{workspace.mlflow / 'mlflow.db'}")
        self.lock = {"key": "k" * 64, "tables": DATA.tables, "recipe": "r" * 64, "code": "c" * 64, "seed": 7}
        digest = "a" * 64
        tags = {
            "banyan.weights_sha256": digest,
            "banyan.task": "summarisation",
            "banyan.data_version": DATA.version,
            "banyan.lock_key": self.lock["key"],
        }
        run_id = registry._client.create_run("0").info.run_id
        registry._client.create_registered_model("banyan-summary")
        registry._client.create_model_version("banyan-summary", source="/nowhere", run_id=run_id, tags=tags)
        self.model = ModelRef(name="banyan-summary", version=1, run_id=run_id, weights_sha256=digest)
        served = workspace.models / "banyan-summary" / "1" / digest[:16]  # as it was fetched for serving
        served.parent.mkdir(parents=True)
        kept = workspace.mlflow / "artifacts" / "1" / self.model.run_id / "artifacts"  # as the stack's server lays them
        kept.mkdir(parents=True)
        (kept / "lock.json").write_text(json.dumps(self.lock))
        self.engine = TorchEngine(self.model, writer(served), task="summarisation")
        manifests = workspace.data / "manifests"
        manifests.mkdir(parents=True)
        summary = SplitSummary(total=3, sources={"networkx": 2, "feedback": 1}, labels={})
        manifest = Manifest(
            ref=DATA, name="demo", created_at=datetime.now(UTC), pointer="", rows={"summary": {"train": summary}}
        )
        (manifests / f"{DATA.version}.json").write_text(manifest.model_dump_json())

    def say(self, ledger: Ledger, request_id: str, sampling: Sampling | None = None, *, changed: str = "") -> None:
        """Record what the model really says."""
        if sampling is None:
            output, finish = self.engine.answer([TEXTS[0]])[0].output, None
        else:
            batcher = Batcher(self.engine)
            written = batcher.write(TEXTS[0], sampling, lambda _: None).done.result(30)
            batcher.close()
            output, finish = written.text, written.finish_reason
        receipt = receipt_of(self.engine, sampling)
        ledger.record_answer(
            request_id, table="summary", model=self.model, template_sha256=receipt.template_sha256,
            generation=receipt.generation, text=TEXTS[0], output=output + changed, finish_reason=finish,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield Installation(tmp_path_factory.mktemp("installation"), patch)


@pytest.fixture
def ledger(installation):
    with Ledger(installation.settings) as ledger:
        yield ledger


def test_an_answer_leads_to_its_model_lock_tables_and_sources_with_the_stack_down(installation, ledger):
    installation.say(ledger, "request-1")
    found = lineage.trace("request-1", settings=installation.settings, ledger=ledger)
    assert found.missing == ()
    facts = found.as_dict()
    assert facts["model"]["run_id"] == installation.model.run_id
    assert facts["lock"] == installation.lock
    assert facts["data"]["version"] == DATA.version
    assert facts["data"]["sources"] == {"summary": {"networkx": 2, "feedback": 1}}
    json.dumps(facts)


def test_what_cannot_be_followed_is_named_and_the_rest_is_told(installation, ledger):
    stranger = ModelRef(name="banyan-gone", version=9, run_id="r", weights_sha256="9" * 64)
    ledger.record_answer(
        "request-2", table="gone", model=stranger, template_sha256="", generation={}, text="x", output="y"
    )
    found = lineage.trace("request-2", settings=installation.settings, ledger=ledger)
    assert (found.answer.output, found.model, found.data) == ("y", None, None)
    assert "banyan-gone v9" in found.missing[0]
    with pytest.raises(UsageError, match="no answer"):
        lineage.trace("nothing", settings=installation.settings, ledger=ledger)


@pytest.mark.parametrize(
    "sampling", [None, Sampling(max_tokens=12), Sampling(max_tokens=12, temperature=1.5, top_p=0.9, seed=4)]
)
def test_a_replay_says_identical_for_what_the_model_says_and_different_for_what_it_does_not(
    installation, ledger, sampling
):
    number = f"{sampling}"
    installation.say(ledger, f"same-{number}", sampling)
    installation.say(ledger, f"other-{number}", sampling, changed="!")
    for name, verdict in (("same", "identical"), ("other", "different")):
        answer = ledger.answer(f"{name}-{number}")
        again = lineage.replay(answer, settings=installation.settings, ledger=ledger)
        assert (again.verdict, again.differences) == (verdict, ())


def test_a_prompt_that_is_no_longer_kept_cannot_be_replayed(installation):
    short = installation.settings.model_copy(update={"prompt_retention_days": 0})
    with Ledger(short) as forgetful:
        installation.say(forgetful, "request-3")
        with pytest.raises(UsageError, match="no longer kept"):
            lineage.replay(forgetful.answer("request-3"), settings=short, ledger=forgetful)
