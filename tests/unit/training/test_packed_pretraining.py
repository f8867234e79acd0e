import pytest

from components.data import packing, tables
from components.errors import RecipeError
from components.models.tokenizer import train_bpe
from components.recipes import Pretrain, parse_recipe
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
    assert lock.tables == {"packed/packed": packing.read_info(packed).sha256()}


@pytest.mark.parametrize("field", [{"vocab_size": 5000}, {"table": "other"}])
def test_an_option_that_has_no_effect_beside_packed_is_an_error(read_corpus, field, tmp_path):
    content = {**of(read_corpus, tmp_path).model_dump(mode="json"), **field}
    with pytest.raises(RecipeError, match=f"{next(iter(field))}: it has no effect beside packed"):
        parse_recipe(content)
