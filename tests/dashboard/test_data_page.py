"""The data page on a workspace with two versions of one table, and nothing else running."""

import json
import shutil
from dataclasses import replace

import pytest

from components.data import versioning
from components.knowledge import Graph
from components.knowledge_files import save
from components.recipes import FileSource, Ingest
from components.settings import Settings
from dashboard import documents, versions
from dashboard.records import DataState, DataVersion
from dashboard.text import Words
from dashboard.versions import CheckRow
from dashboard.viewmodels import versions as shown
from dashboard.viewmodels.data import data_view
from tests.dashboard.conftest import Draw, words_on

EN = Words("en")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("data-page")
    path = folder / "shop.jsonl"
    nouns = ["lamp", "chair", "door", "table", "parcel", "card", "box"] * 6
    rows = [
        {"text": f"the {noun} is {state} on day {day}", "label": state}
        for day, noun in enumerate(nouns)
        for state in ("late", "broken")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_WORKSPACE", str(folder / "workspace"))
        settings = Settings()
        for some in ([*rows, {"text": "mail me at ann@example.org", "label": ""}], rows[4:]):
            path.write_text("".join(json.dumps(row) + "\n" for row in some), "utf-8")
            source = FileSource(path=path, table="shop", task="classification")
            versioning.ingest(Ingest(name="shop", sources=(source,)), settings=settings)
    return settings


@pytest.mark.parametrize(("language", "by"), [("en", "by banyan-late@2"), ("zh", "来自 banyan-late@2")])
def test_the_page_says_what_was_filled_in_and_by_which_model(
    workspace, tmp_path, environment, draw: Draw, language, by
):
    shutil.copytree(workspace.workspace.root, tmp_path / "workspace")
    environment({"BANYAN_WORKSPACE": str(tmp_path / "workspace")})
    rows = [{"text": f"parcel {n} is late", "label": "late" if n % 2 else ""} for n in range(40)]
    rows += [{"text": f"lamp {n} is broken", "label": "broken"} for n in range(40)]
    (tmp_path / "mail.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    source = FileSource(
        path=tmp_path / "mail.jsonl", table="mail", task="classification", missing={"label": "model=banyan-late"}
    )
    settings = Settings()
    ref = versioning.ingest(Ingest(name="mail", sources=(source,)), settings=settings, models=lambda *_: Late())
    [added] = versions.facts(settings, ref.version).added
    assert (added.table, added.what, added.by, added.is_column) == ("mail", "label", "banyan-late@2", True)
    text = words_on(draw("data", language=language))
    assert by in text and Words(language)("data.filled", column="label") in text
    assert added.num_rows == versioning.manifest(ref.version, settings=settings).changed["mail"]["filled in"]


class Late:
    model = "banyan-late@2"

    def __call__(self, texts):
        return ["late" for _ in texts]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_says_what_is_in_a_version_and_what_differs(workspace, environment, draw: Draw, language):
    environment({"BANYAN_WORKSPACE": str(workspace.workspace.root)})
    page = draw("data", language=language)
    words = Words(language)
    text = words_on(page) + " ".join(element.label for element in page.expander)
    assert words("data.diff.removed") in text
    num_checks = versioning.versions(workspace)[0].num_checks
    assert words("data.suite.summary", good=num_checks, all=num_checks) in text
    assert "shop −4" in text
    assert "en" in text and "late" in text
    first = next(box for box in page.selectbox if box.label == words("data.version"))
    first.select_index(1).run()
    assert not page.exception
    assert words("reason.no label or target") in words_on(page)
    assert "[EMAIL_1]" in words_on(page)
    assert "ann@example.org" not in words_on(page)


def test_a_version_says_its_checks_languages_and_rejects(workspace):
    first = versioning.versions(workspace)[-1]
    facts = versions.facts(workspace, first.ref.version)
    assert all(check.success for check in facts.checks)
    assert len(facts.checks) == first.num_checks
    assert facts.languages["shop"]["en"] > 0.9
    [one] = facts.rejected
    assert (one.table, one.reason, one.num_rows) == ("shop", "no label or target", 1)


def _version(name: str, at: float, parent: str = "", **tables: int) -> DataVersion:
    rows = {table: {"train": number} for table, number in tables.items()}
    return DataVersion(
        version=name * 32, name=name, created_at=at, parent=parent * 32, is_head=False, rows=rows, sources={},
        labels={}, licences={}, rejects={}, changed={}, num_checks=1, docs=None,
    )  # fmt: skip


def test_the_line_of_versions_says_what_each_changed():
    found = [_version("c", 3.0, "b", shop=7), _version("b", 2.0, "a", shop=7, wiki=2), _version("a", 1.0, shop=5)]
    lines = [line.note for line in shown.line_of_versions(found, EN)]
    assert lines == ["wiki is gone", "shop +2, wiki is new", "the first one"]
    assert shown.growth(found).rows == {"shop": (5, 7, 7), "wiki": (None, 2, None)}
    assert shown.growth(found[:1]) is None
    assert shown.line_of_versions(found[:1], EN)[0].note == "the version before it is gone"


def test_a_packed_corpus_shows_its_tokens_and_is_no_point_of_the_tables_line():
    tables = [_version("b", 2.0, "a", shop=7), _version("a", 1.0, shop=5)]
    packed = replace(_version("p", 3.0), rows={"packed/mine": {"train": 90}}, tokens={"train": 4000, "heldout": 200})
    assert shown.growth([packed, *tables]) == shown.growth(tables)
    assert shown.line_of_versions([packed, *tables], EN)[0].note == "the first one"
    tile = data_view(DataState((packed, *tables), ()), packed, EN).tiles[-1]
    assert (tile.label, tile.value, tile.note) == (
        "Tokens",
        "4,200",
        "packed for pretraining: 4,000 train, 200 heldout",
    )
    assert [one.label for one in data_view(DataState((packed, *tables), ()), tables[0], EN).tiles][-1] != "Tokens"


def test_what_failed_stands_first_and_a_warning_is_no_failure():
    good = CheckRow("shop rows", "no empty text", True, "critical", 0, 9, ())
    bad = CheckRow("wiki rows", "no duplicates", False, "critical", 2, 9, ("a", "b"))
    warned = CheckRow("wiki drift", "as before", False, "warning", 1, 4, ("0.4",))
    assert shown.tables_checked([good, warned, bad]) == ["wiki", "shop"]
    lines = shown.suite_lines([good, warned, bad], "wiki", EN)
    assert [(line.state, line.note, line.end) for line in lines] == [
        ("stale", "0.4", "1 of 4 fail"),
        ("failed", "a · b", "2 of 9 fail"),
    ]


def test_a_link_to_a_version_opens_the_page_with_it_and_any_other_with_the_current_one(
    workspace, environment, draw: Draw
):
    environment({"BANYAN_WORKSPACE": str(workspace.workspace.root)})
    newest, older = versioning.versions(workspace)
    page = draw("data")
    for wanted, shows in ((older.ref.version, older), ("0" * 32, newest), (newest.ref.version, newest)):
        page.query_params["version"] = wanted
        page.run()
        [box] = [box for box in page.selectbox if box.label == EN("data.version")]
        assert box.value == shows.ref.version


def test_documents_are_searched_and_their_graph_is_drawn(workspace, environment, draw: Draw):
    environment({"BANYAN_WORKSPACE": str(workspace.workspace.root)})
    page = draw("data")
    assert "No graph has been built yet" in words_on(page)
    page.text_input(key="documents query").set_value("which parcel is broken").run()
    assert "the parcel is broken on day" in " ".join(element.value for element in page.text)

    graph = Graph()
    graph.add(
        ("parcel", "thing"), "part_of", ("shop", "thing"), sentence="A parcel is part of a shop.", document="a.md"
    )
    graph.add(("door", "thing"), "part_of", ('a "big" house', "thing"), sentence="Doors and houses.", document="b.md")
    save(graph, "shop", settings=workspace)
    page = draw("data")
    assert "4 entities, 2 relations in all" in words_on(page)
    page.text_input(key="documents entity").set_value("Parcels").run()
    assert not page.exception
    shown = documents.drawn(workspace, "shop", entity="Parcels")
    assert [one.object for one in shown.relations] == ["shop"]
    assert '"parcel" -> "shop"' in documents.dot(shown, centre="Parcels")
    assert "A parcel is part of a shop." in words_on(page)
    page.text_input(key="documents entity").set_value("nobody").run()
    assert "The graph says nothing of nobody." in words_on(page)
    assert r"\"big\"" in documents.dot(documents.drawn(workspace, "shop", entity=""), centre="")
