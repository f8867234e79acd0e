import pytest

from components.data import packing, tables
from components.data.packed_versions import commit_packed
from components.errors import RecipeError
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain, parse_recipe
from components.settings import Settings
from components.training import run
from components.training.pretraining import pretrain, take_lock


@pytest.fixture
def packed(read_corpus, small_data, tmp_path):
    texts = {split: list(tables.read_split(small_data, "corpus", split)["text"]) for split in packing.SPLITS}
    packing.pack_texts(texts, train_bpe(texts["train"], read_corpus.vocab_size), tmp_path / "packed")
    return tmp_path / "packed"


def of(recipe, packed, **more):
    return Pretrain(**{**recipe.model_dump(exclude={"vocab_size", "table"}), "packed": packed, **more})


def test_packed_blocks_give_the_weights_that_the_table_gives(read_corpus, small_data, packed, tmp_path):
    few = {"num_steps": 3, "checkpoint_every_steps": 3, "evaluate_every_steps": 3}
    plain = pretrain(Pretrain(**{**read_corpus.model_dump(), **few}), data_dir=small_data, run_dir=tmp_path / "plain")
    mapped = pretrain(of(read_corpus, packed, **few), data_dir=tmp_path / "no data", run_dir=tmp_path / "mapped")
    assert mapped.weights_sha256 == plain.weights_sha256
    assert mapped.metrics == plain.metrics


def test_the_lock_is_of_the_packed_bytes(read_corpus, small_data, packed, tmp_path):
    recipe = of(read_corpus, packed)
    lock = take_lock(recipe, data_dir=tmp_path)
    assert lock.tables == {"packed/texts": packing.read_info(packed).sha256()}
    moved = packed.rename(tmp_path / "elsewhere")
    assert take_lock(of(read_corpus, moved), data_dir=tmp_path).key == lock.key  # where it lies changes no weight


def test_a_data_version_is_locked_and_trained_as_its_folder_is(read_corpus, packed, tmp_path, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    settings = Settings()
    ref = commit_packed(packed, settings=settings)
    named = of(read_corpus, "data:texts", num_steps=2, checkpoint_every_steps=2, evaluate_every_steps=2)
    by_folder = named.model_copy(update={"packed": packed})
    assert run.take_lock(named, data=ref, settings=settings) == take_lock(by_folder, data_dir=tmp_path)
    done = run.train_alone(named, data=ref, run_dir=tmp_path / "named", settings=settings)
    plain = pretrain(by_folder, data_dir=tmp_path, run_dir=tmp_path / "folder")
    assert done.weights_sha256 == plain.weights_sha256


@pytest.mark.parametrize("field", [{"vocab_size": 5000}, {"table": "other"}])
def test_an_option_that_has_no_effect_beside_packed_is_an_error(read_corpus, field, tmp_path):
    content = {**of(read_corpus, tmp_path).model_dump(mode="json"), **field}
    with pytest.raises(RecipeError, match=f"{next(iter(field))}: it has no effect beside packed"):
        parse_recipe(content)
