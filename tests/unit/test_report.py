"""The report, from a real registry (on SQLite, without a server), a real ledger and real manifests."""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.data.versioning import Manifest, SplitSummary
from components.errors import ServiceDown
from components.evaluation.cost import CostPair, ModelCost
from components.evaluation.gate import Verdict
from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.recipes import GatePolicy
from components.refs import DataRef
from components.registry import Registry
from components.report import collect, demo_figures, report
from components.report.facts import retraining_verdict, stage_seconds
from components.settings import Settings

LABELS = ("<django>", "mne $x$", "sympy", "keras")
DATA = DataRef(version="d" * 32, tables={"library": "t" * 64})
ASKED = "Solve <b>this</b> & that"
NUM_TEST = 200
COST = CostPair(
    num_timed=20,
    currency="EUR",
    challenger=ModelCost(weight_bytes=90_000_000, cpu_seconds=70.4, seconds_per_example=0.5),
    champion=ModelCost(weight_bytes=45_000_000, seconds_per_example=0.25),
)


def scores(num_right: int) -> pd.DataFrame:
    """A test split of which the first `num_right` rows are right, and 20 more among the first three."""
    targets = [LABELS[i % 4] for i in range(NUM_TEST)]
    right = np.arange(NUM_TEST) < num_right
    near = np.arange(NUM_TEST) < num_right + 20
    predictions = [t if ok else LABELS[(LABELS.index(t) + 1) % 4] for t, ok in zip(targets, right, strict=True)]
    return pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(NUM_TEST)],
            "prediction": predictions,
            "target": targets,
            "score": right.astype(float),
            "top3": near.astype(float),
            "confidence": 0.5,
        }
    )


def verdict(kind: str, difference: float) -> Verdict:
    return Verdict(
        verdict=kind,
        difference=difference,
        low=difference - 0.04,
        high=difference + 0.04,
        p_value=0.01,
        num_examples=NUM_TEST,
        num_wins=30,
        num_losses=10,
        num_more_needed=120 if kind == "inconclusive" else None,
        reason="",
        policy=GatePolicy(),
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Iterator[Settings]:
    """A workspace with MLflow's tables in it."""
    root = tmp_path_factory.mktemp("workspace")
    before, cwd = dict(os.environ), Path.cwd()
    os.environ |= {"BANYAN_WORKSPACE": str(root), "BANYAN_MLFLOW_URL": f"sqlite:///{root}/mlflow.db"}
    os.chdir(root)  # without a server MLflow keeps artifacts in the current folder
    yield Settings()
    os.chdir(cwd)
    os.environ.clear()
    os.environ |= before


@pytest.fixture(scope="module")
def empty(settings) -> tuple[dict, str]:
    """The report of a workspace in which nothing has happened: (figures, page)."""
    path = settings.workspace.root / "empty.html"
    return report(settings, table="library", path=path), path.read_text("utf-8")


@pytest.fixture(scope="module")
def turned(settings, empty) -> Settings:
    """The workspace after one turn: v1 champion, v2 control, v3 its successor."""
    registry = Registry(settings.mlflow_url)
    model_dir = settings.workspace.root / "hf"
    model_dir.mkdir()
    (model_dir / "config.json").write_text("{}")
    refs = [
        registry.register(
            "banyan-library",
            model_dir=model_dir,
            task="classification",
            lock={"key": f"key {num_right}"},
            data=DATA,
            metrics={"accuracy": num_right / NUM_TEST},
            card="# card",
            example="Solve this.",
            per_example=scores(num_right),
            baseline=scores(64),
            tags={"banyan.role": role},
            weights_sha256=f"{num_right:064d}",
        )
        for num_right, role in ((94, "candidate"), (108, "control"), (114, "candidate"))
    ]
    champion, control, challenger = refs
    with Ledger(settings) as ledger:
        journal = Journal(ledger, settings.workspace)
        ledger.record_verdict(
            champion, verdict("promote", 0.15), champion=None, metric="accuracy", data_version=DATA.version
        )
        journal.move(registry, champion, actor="gate", evidence={})
        for i in range(10):
            ledger.record_answer(
                f"request{i}",
                table="library",
                model=champion,
                template_sha256="0" * 64,
                generation={},
                text=f"{ASKED} {i}",
                output="sympy",
            )
        for i in range(6):
            kind, correction = ("correct", LABELS[i % 4]) if i % 4 != 2 else ("approve", None)
            ledger.record_feedback(
                f"feedback{i}", request_id=f"request{i}", kind=kind, correction=correction, channel="scripted-rater"
            )
        about = {"data_version": DATA.version}
        model = {"model_name": "banyan-library", "model_version": challenger.version}
        ledger.append_fates(
            [ledger.fate("feedback5", "refused", reason="in the test split", **about)]
            + [ledger.fate(f"feedback{i}", "admitted", **about) for i in range(5)]
            + [ledger.fate(f"feedback{i}", "trained", **about, **model) for i in range(5)]
            + [
                ledger.fate(
                    f"feedback{i}",
                    "measured",
                    **about,
                    **model,
                    effect={"score_before": 0.0, "score_after": float(i != 1), "output_after": LABELS[i % 4]},
                )
                for i in range(5)
            ]
        )
        ledger.record_verdict(
            challenger,
            verdict("promote", 0.10),
            champion=champion,
            metric="accuracy",
            data_version=DATA.version,
            test_set="t",
            evidence={"cost": COST.model_dump(mode="json")},
        )
        journal.move(registry, challenger, actor="gate", evidence={})
        ledger.record_verdict(
            control, verdict("inconclusive", 0.07), champion=champion, metric="accuracy", data_version=DATA.version
        )
        for run, stage, subject, seconds in (
            ("loop-0", "ingest", "library", 99.0),
            ("loop-1", "ingest", "library", 30.0),
            ("loop-1", "train library", "banyan-library", 20.0),
            ("loop-1", "train summary", "banyan-summary", 90.0),
        ):
            ledger.record_cost(run, stage, subject_name=subject, device="cpu", seconds=seconds)
    made = Manifest(
        ref=DATA,
        name="demo-data",
        created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        pointer="",
        rows={"library": {"train": SplitSummary(total=200, sources={}, labels={})}},
        rejects={"library": {"conflicting label": 7}},
        num_checks=31,
    )
    manifests = settings.workspace.data / "manifests"
    manifests.mkdir(parents=True)
    (manifests / f"{DATA.version}.json").write_text(made.model_dump_json())
    return settings


@pytest.fixture(scope="module")
def written(turned) -> tuple[dict, str]:
    path = turned.workspace.root / "report.html"
    return report(turned, table="library", path=path, run_id="loop-1"), path.read_text("utf-8")


def test_the_figures_have_exactly_the_keys_that_were_promised(written):
    figures, _ = written
    assert set(figures) == {
        "champion_before",
        "champion_after",
        "baseline",
        "control",
        "difference_interval",
        "verdict",
        "corrected_now_right",
        "feedback",
        "stages",
        "urls",
    }
    for name in ("champion_before", "champion_after", "baseline", "control"):
        assert set(figures[name]) == {"version", "accuracy", "top3"}
    assert set(figures["feedback"]) == {"received", "fates"}


def test_every_figure_is_what_the_stores_hold(written):
    figures, _ = written
    assert figures["champion_before"] == {"version": 1, "accuracy": 94 / 200, "top3": 114 / 200}
    assert figures["champion_after"] == {"version": 3, "accuracy": 114 / 200, "top3": 134 / 200}
    assert figures["control"] == {"version": 2, "accuracy": 108 / 200, "top3": 128 / 200}
    assert figures["baseline"] == {"version": "TF-IDF + logistic regression", "accuracy": 64 / 200, "top3": 84 / 200}
    assert figures["difference_interval"] == pytest.approx([0.06, 0.14])
    assert figures["verdict"] == "promote"
    assert figures["corrected_now_right"] == pytest.approx(3 / 4)
    assert figures["feedback"]["received"] == 6
    fates = {"received": 0, "refused": 1, "admitted": 0, "trained": 0, "measured": 5}
    assert figures["feedback"]["fates"] == fates
    assert figures["stages"] == {"ingest": 30.0, "train library": 20.0, "train summary": 90.0}
    assert set(figures["urls"]) == {"mlflow"}


def test_the_page_needs_nothing_from_elsewhere(written):
    _, page = written
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!sqlite|#)[^"]+"', re.sub(r"<svg.*?</svg>", "", page, flags=re.S))
    assert not re.findall(r"url\((?!#)", page)


def test_the_pictures_are_well_formed_and_labelled(written):
    _, page = written
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(pictures) == 5  # contest, differences, by label, fates, stages
    for picture in pictures:
        root = ET.fromstring(picture)
        assert root.get("role") == "img"
        assert root.find("{http://www.w3.org/2000/svg}title") is not None


def test_what_people_typed_is_shown_as_text_and_never_as_markup(written):
    _, page = written
    assert "Solve &lt;b&gt;this&lt;/b&gt; &amp; that" in page
    assert "<b>this</b>" not in page
    assert "<django>" not in page
    assert "mne $x$" in page


def test_the_rater_is_named_as_a_script_and_the_control_as_a_control(written):
    _, page = written
    assert "scripted rater" in page
    assert "It is no person" in page
    assert "the gate never promotes it" in page


def test_the_page_says_what_came_of_it(written):
    _, page = written
    assert "Promote: accuracy 47.0% → 57.0%" in page
    assert "+10.0 points (95% interval +6.0 points to +14.0 points, paired on 200 examples" in page
    assert "conflicting label" in page
    assert "in the test split" in page


def test_the_same_stores_give_the_same_page(written, turned):
    path = turned.workspace.root / "again.html"
    report(turned, table="library", path=path, run_id="loop-1")
    assert path.read_text("utf-8") == written[1]


def test_where_nothing_has_happened_the_figures_are_none_and_the_page_says_so(empty):
    figures, page = empty
    assert {name for name, value in figures.items() if value is None} == {
        "champion_before",
        "champion_after",
        "baseline",
        "control",
        "difference_interval",
        "verdict",
        "corrected_now_right",
    }
    assert figures["feedback"]["received"] == 0
    assert "There is no champion" in page


def test_without_a_stack_there_is_no_report(tmp_path, monkeypatch):
    monkeypatch.delenv("BANYAN_MLFLOW_URL", raising=False)
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "none"))
    with pytest.raises(ServiceDown):
        report(Settings(), table="library", path=tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_what_both_models_take_stands_beside_the_verdict(written):
    _, page = written
    assert '<tr><td>Weights on disk</td><td class="n">90.0 MB</td><td class="n">45.0 MB</td></tr>' in page
    assert '<tr><td>Time per answer</td><td class="n">500.0 ms</td><td class="n">250.0 ms</td></tr>' in page
    assert '<tr><td>Training, processor time</td><td class="n">70 s</td><td class="n">–</td></tr>' in page
    assert "Training, money" not in page  # nobody counted it


def test_a_control_is_never_taken_for_the_challenger(turned):
    with Ledger(turned) as ledger:
        rows = ledger.verdicts("banyan-library")
    assert rows[-1].model_version == 2  # the control was compared last
    assert retraining_verdict(rows, [2]).model_version == 3
    assert retraining_verdict(rows[:1], []) is None  # against the baseline only


def test_over_all_runs_a_stage_counts_once_per_subject_with_its_newest_time(turned):
    with Ledger(turned) as ledger:
        ledger.record_cost("other", "train library", subject_name="banyan-other", device="cpu", seconds=5.0)
        costs = ledger.costs()
    assert stage_seconds(costs) == {
        "ingest": 30.0,
        "train library library": 20.0,
        "train summary": 90.0,
        "train library other": 5.0,
    }


def test_a_rejected_challenger_leaves_the_champion_of_before(turned):
    facts = collect(turned, table="library", run_id="loop-1")
    assert demo_figures(facts)["champion_before"]["version"] == facts.verdict.against_version
