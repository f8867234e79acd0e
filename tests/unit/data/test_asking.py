"""Rows that registered models fill in and say in other words. The models are real and tiny; the registry is another
part's, and what it answers is given here."""

import json
import random
from collections import Counter
from types import SimpleNamespace

import pytest

from components.data import build, versioning
from components.data.asking import TEXTS_AT_ONCE, AskedModels, Remembering
from components.data.back_translation import back_translated, translated
from components.data.cleaning import Row
from components.data.manifests import filled_by
from components.data.missing import handle_missing
from components.data.tables import BACK_TRANSLATED, content_id, read_split
from components.errors import RecipeError
from components.recipes import BackTranslation, FileSource
from components.registered import RegisteredModel, open_model
from components.tasks import get_task
from tests.unit.serving import tiny_models


def _opened(folder, task, name):
    from components.models.pretrained import load_trained

    return RegisteredModel(f"{name}@1", get_task(task), *load_trained(folder, task=get_task(task)))


class Words:
    """A model that puts one word for another."""

    def __init__(self, model, words):
        self.model, self.words, self.asked = model, words, []

    def __call__(self, texts):
        self.asked.append(texts)
        return [" ".join(self.words.get(word, word) for word in text.split(" ")) for text in texts]


def test_an_empty_label_is_what_a_registered_classifier_says_and_the_row_says_so(settings, own, jsonl, tmp_path):
    model = _opened(tiny_models.classifier(tmp_path / "model"), "classification", "banyan-libraries")
    asked = []

    def models(which, task):
        asked.append((which, task))
        return model

    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefghilmnoprstuvxyz ", k=12)).strip() + f" {number}" for number in range(60)]
    wanted = dict(zip(texts, model(texts), strict=True))
    assert len(set(wanted.values())) > 1
    rows = [{"text": text, "label": wanted[text] if number < 40 else ""} for number, text in enumerate(texts)]
    recipe = own(jsonl(rows), missing={"label": "model=banyan-libraries"})
    report = build.build(recipe, settings=settings, models=models)
    assert asked == [("banyan-libraries", "classification")]
    assert report.inputs["things"].models == {"missing label": "banyan-libraries@1"}
    train = read_split(report.staging_dir, "things", "train")
    filled = train[train["imputed"] == "label"]
    assert len(filled) == report.changed["things"]["filled in"] > 0
    assert [wanted[text] for text in filled["text"]] == filled["label"].tolist()
    test = read_split(report.staging_dir, "things", "test")
    assert set(test["imputed"]) <= {""}, "what was guessed is nothing to measure by"
    with pytest.raises(RecipeError, match="needs the registry"):
        build.build(recipe, settings=settings)


def test_a_label_that_the_table_does_not_have_is_not_filled_in():
    rows = [Row(text, label, "s", "l", "g") for text, label in (("a b", "one"), ("c d", "two"), ("e f", ""), ("g", ""))]
    labels = {"e f": "one", "g": "three"}
    said = lambda texts: [labels[text] for text in texts]  # noqa: E731
    models = AskedModels(lambda which, task: Said(said), cache=None)
    handle_missing(rows, {"answer": "model=m"}, closed={"answer"}, models=models)
    assert [(row.answer, row.imputed, row.reason) for row in rows[2:]] == [
        ("one", "answer", ""),
        ("", "", "no label or target"),
    ]


class Said:
    model = "m@1"

    def __init__(self, say):
        self.say = say

    def __call__(self, texts):
        return self.say(texts)


def test_a_category_is_filled_in_and_a_text_cannot_be():
    rows = [Row("a b", "x", "web", "l", "g"), Row("c d", "x", "", "l", "g")]
    models = AskedModels(lambda which, task: Said(lambda texts: ["mail"] * len(texts)), cache=None)
    handle_missing(rows, {"source": "model=m"}, models=models)
    assert [(row.source, row.imputed) for row in rows] == [("web", ""), ("mail", "source")]
    with pytest.raises(RecipeError, match="needs the text"):
        handle_missing([*rows, Row("", "x", "s", "l", "g")], {"text": "model=m"}, models=models)


def test_new_rows_are_made_of_training_rows_only_and_repeat(settings, jsonl, tmp_path, rows):
    from components.recipes import Ingest

    there = _opened(tiny_models.writer(tmp_path / "there"), "translation", "banyan-there")
    back = _opened(tiny_models.writer(tmp_path / "back", seed=1), "translation", "banyan-back")
    models = lambda which, task: {"there": there, "back": back}[which]  # noqa: E731
    source = FileSource(
        path=jsonl(), table="things", task="classification",
        back_translation=BackTranslation(there="there", back="back", share=0.5),
    )  # fmt: skip
    recipe = Ingest(name="own", sources=(source,))
    first, again = (build.build(recipe, settings=settings, models=models) for _ in range(2))
    train, test = (read_split(first.staging_dir, "things", split) for split in ("train", "test"))
    made = train[train["origin"] == BACK_TRANSLATED]
    assert len(made) == first.changed["things"]["back-translated"] > 0
    assert set(test["origin"]) == {"file"}
    originals = train[train["origin"] == "file"]
    assert set(map(tuple, made[["group", "label"]].to_numpy())) <= set(
        map(tuple, originals[["group", "label"]].to_numpy())
    )
    assert not {*made["id"]} & {*test["id"], *originals["id"]}
    assert len(made["group"].unique()) < 0.75 * len(originals)
    assert read_split(again.staging_dir, "things", "train").equals(train)
    assert first.inputs["things"].models == {
        "back_translation, there": "banyan-there@1", "back_translation, back": "banyan-back@1",
    }  # fmt: skip
    ref = versioning.ingest(recipe, settings=settings, models=models)  # the gate lets them pass
    about = versioning.manifest(ref.version, settings=settings)
    assert about.rows["things"]["train"].total == len(train)
    assert about.rows["things"]["train"].augmented == {"back-translation": len(made)}
    assert about.rows["things"]["test"].augmented == {}
    assert filled_by(about, "things") == {"back-translation": "banyan-there@1, banyan-back@1"}
    with pytest.raises(RecipeError, match="needs the registry"):
        build.build(recipe, settings=settings)


def test_what_comes_back_the_same_or_without_a_mask_or_as_a_text_of_the_test_makes_no_row():
    texts = ["big dog", "a cat", "call [PHONE_1] big", "big\n\nhouse", "old man", "new thing"]
    rows = [
        Row(text, "x", "s", "l", f"g{number}", id=content_id(text), split="test" if text == "new thing" else "train")
        for number, text in enumerate(texts)
    ]
    there = Words("there@1", {"big": "groß", "[PHONE_1]": "PHONE", "old": "alt", "man": "Mann"})
    back = Words("back@1", {"groß": "large", "alt": "new", "Mann": "thing"})
    models = AskedModels(lambda which, task: {"there": there, "back": back}[which], cache=None)
    made = back_translated(rows, BackTranslation(there="there", back="back"), seed=0, models=models)
    assert [(row.text, row.group, row.origin, row.split) for row in made] == [
        ("large dog", "g0", BACK_TRANSLATED, "train"),
        ("large\n\nhouse", "g3", BACK_TRANSLATED, "train"),
    ]
    assert translated(["a\n\nb"], there, language="de") == [">>de<< a\n\n>>de<< b"]


def test_a_recipe_for_answers_that_point_into_the_text_is_refused(settings, tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps({"text": f"Ada {n} spoke", "entities": []}) + "\n" for n in range(20)))
    both = BackTranslation(there="a", back="b")
    source = FileSource(path=path, table="people", task="entities", back_translation=both)
    from components.recipes import Ingest

    with pytest.raises(RecipeError, match="point into the text"):
        build.build(Ingest(name="p", sources=(source,)), settings=settings, models=lambda *_: None)


def test_a_text_that_was_put_to_a_model_is_not_put_to_it_again(tmp_path):
    texts = [f"text {number}" for number in range(2 * TEXTS_AT_ONCE + 3)]
    model = Words("m@1", {"text": "words"})

    class Dies(Words):
        def __call__(self, some):
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().__call__(some)

    dying = Dies("m@1", model.words)
    with pytest.raises(KeyboardInterrupt):
        Remembering(dying, cache=tmp_path)(texts)
    found = Remembering(model, cache=tmp_path)(texts)
    assert found == [f"words {number}" for number in range(len(texts))]
    assert [len(some) for some in model.asked] == [3]
    assert Counter(map(len, dying.asked)) == {TEXTS_AT_ONCE: 2}
    other = Words("m@2", model.words)
    Remembering(other, cache=tmp_path)(texts)
    assert len(other.asked) == 3  # another version is asked itself


@pytest.mark.parametrize(
    ("number", "task", "says"), [("@9", "classification", "no version 9"), ("", "classification", "has no champion"),
                                 ("@1", "translation", "is a model of classification"), ("@1", "classification", "")],
)  # fmt: skip
def test_a_model_of_the_registry_is_opened_when_it_is_of_the_task(settings, monkeypatch, tmp_path, number, task, says):
    from components.errors import VersionNotFound

    folder = tiny_models.classifier(tmp_path / "model")

    def ref(name, version):
        if version == 9:
            raise VersionNotFound(f"{name} has no version 9")
        return SimpleNamespace(name=name, version=version)

    registry = SimpleNamespace(
        ref=ref, champion=lambda name: None, fetch=lambda ref, workspace: folder,
        get=lambda ref: SimpleNamespace(task="classification"),
    )  # fmt: skip
    monkeypatch.setattr("components.registry.Registry", lambda url: registry)
    monkeypatch.setattr("components.supervisor.addresses", lambda settings: SimpleNamespace(mlflow=""))
    if says:
        with pytest.raises(RecipeError, match=says):
            open_model(f"banyan-x{number}", task, settings=settings)
    else:
        found = open_model(f"banyan-x{number}", task, settings=settings)
        assert found.model == "banyan-x@1"
        assert set(found(["Return the path.", "x"])) <= set(tiny_models.LABELS)
