"""Adapters beside their base: small files, shared memory, and the answers of merged weights."""

import copy
import gc
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers

from components.errors import CheckpointError, InputFileError, RecipeError
from components.evaluation.explain import explain
from components.evaluation.parity import check
from components.evaluation.parity_reference import reference
from components.models import adapters, pretrained
from components.recipes import Finetune, Preference, parse_recipe
from components.refs import ModelRef
from components.serving.engines import TorchEngine
from components.tasks import get_task
from components.training import ensembles
from components.training.alignment import align
from components.training.finetuning import finetune
from components.training.lock import weights_sha256
from tests.small_trainings import (  # noqa: F401  fixtures
    one_thread,
    small_bert,
    small_data,
    small_llama,
)

WRITES, SORTS = get_task("summarisation"), get_task("classification")
REF = ModelRef(name="banyan-lines", version=1, run_id="r", weights_sha256="1" * 64)
TEXTS = [f"{text} number 2{i}" for i, text in enumerate(("filter the brain signal", "answer the request", "nodes"))]
LINES = {
    "name": "lines", "task": "summarisation", "table": "lines", "base": "smollm2", "num_steps": 6, "batch_size": 4,
    "max_length_tokens": 64, "max_new_tokens": 8, "learning_rate": 1e-2, "adaptation": "lora", "lora_rank": 2,
}  # fmt: skip
TOPICS = {
    "name": "topics", "task": "classification", "table": "topics", "num_steps": 6, "batch_size": 4,
    "max_length_tokens": 24, "learning_rate": 1e-2, "adaptation": "lora", "lora_rank": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def train(tmp_path_factory, small_data):  # noqa: F811
    torch.set_num_threads(1)

    def run(weights_dir, fields, **more):
        folder = tmp_path_factory.mktemp("run")
        return finetune(Finetune(**(fields | more)), data_dir=small_data, weights_dir=weights_dir, run_dir=folder)

    return run


@pytest.fixture(scope="module")
def first(train, small_llama):  # noqa: F811
    return train(small_llama, LINES, keep_adapters=True)


@pytest.fixture(scope="module")
def second(train, small_llama):  # noqa: F811
    return train(small_llama, LINES, keep_adapters=True, seed=1, learning_rate=5e-2)


@pytest.fixture(scope="module")
def merged(train, small_llama):  # noqa: F811
    return train(small_llama, LINES)


def loaded(trained, task=WRITES):
    return pretrained.load_trained(trained.model_dir, task=task)


def logits(model, tokenizer):
    with torch.inference_mode():
        return model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits.float()


def base_of(model):
    """Tensors that are not the adapters' own, by name."""
    return {name: p for name, p in model.named_parameters() if "lora_" not in name}


def test_a_version_is_small_and_names_its_base_by_no_path(first, merged, small_llama):  # noqa: F811
    names = {path.name for path in first.model_dir.iterdir()}
    told = {"base.json", "config.json", "generation_config.json", "tokenizer.json"}
    assert {"adapter_model.safetensors", "adapter_config.json"} | told <= names
    assert "model.safetensors" not in names
    sizes = [next(one.model_dir.glob("*.safetensors")).stat().st_size for one in (first, merged)]
    assert sizes[0] < 0.5 * sizes[1]
    about = json.loads((first.model_dir / "base.json").read_text())
    assert about == {"base": "smollm2", "weights_sha256": weights_sha256(small_llama), "dtype": "bfloat16"}
    for path in first.model_dir.glob("*.json"):
        assert str(small_llama) not in path.read_text(), path.name


def test_merged_when_read_as_whole_they_are_what_a_training_without_the_field_leaves(first, merged):
    assert first.losses == merged.losses
    whole = pretrained.read(first.model_dir, transformers.AutoModelForCausalLM, dtype="auto")
    assert weights_sha256(_as_saved(whole)) == merged.weights_sha256 != first.weights_sha256


def _as_saved(model):
    """Without what is tied to another, as safetensors keeps it."""
    return {name: p for name, p in model.state_dict().items() if name != "lm_head.weight"}


def test_it_answers_as_merged_weights_do(first, merged):
    mine, other = loaded(first), loaded(merged)
    assert (logits(*mine) - logits(*other)).abs().max() < 0.01, "in bfloat16"
    exact = copy.deepcopy(mine[0]).float(), mine[1]
    assert (
        logits(*exact) - logits(*pretrained.load_whole(first.model_dir, task=WRITES, dtype=torch.float32))
    ).abs().max() < 1e-5
    assert [one.output for one in WRITES.answer(*mine, TEXTS)] == [one.output for one in WRITES.answer(*other, TEXTS)]
    assert mine[0].generation_config.max_new_tokens == 8 and mine[1].model_max_length == 64


def test_versions_on_one_base_share_its_memory_until_the_last_goes(first, second):
    one, two = loaded(first)[0], loaded(second)[0]
    shared = base_of(one)
    assert len(shared) > 5
    assert {n: p.data_ptr() for n, p in shared.items()} == {n: p.data_ptr() for n, p in base_of(two).items()}
    own = [dict(model.named_parameters())["model.layers.0.mlp.up_proj.lora_A.default.weight"] for model in (one, two)]
    assert own[0].data_ptr() != own[1].data_ptr()
    assert len(adapters._BASES) == 1
    del one, shared, own
    gc.collect()
    assert len(adapters._BASES) == 1, "the second one still lies on it"
    del two
    gc.collect()
    assert len(adapters._BASES) == 0


def test_what_is_done_to_one_version_leaves_the_others_as_they_were(first, second):
    one, two = loaded(first), loaded(second)
    before = logits(*two)
    one[0].float()
    ensembles.averaged([pretrained.load_whole(one.model_dir, task=WRITES)[0] for one in (first, second)])
    assert logits(*two).equal(before) and two[0].dtype == torch.bfloat16


def test_versions_that_are_asked_at_the_same_time_answer_as_if_alone(first, second):
    engines = [TorchEngine(REF, one.model_dir, task="summarisation") for one in (first, second)]
    torch.set_num_threads(1)
    alone = [[engine.answer([text]) for text in TEXTS] for engine in engines]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(4) as pool:
        asked = [(i, k) for _ in range(6) for k in range(len(TEXTS)) for i in (0, 1)]
        answers = list(pool.map(lambda one: engines[one[0]].answer([TEXTS[one[1]]]), asked))
    for (i, k), answer in zip(asked, answers, strict=True):
        assert answer == alone[i][k]


def test_a_head_of_its_own_lies_on_the_same_body(train, first, small_llama):  # noqa: F811
    sorts = train(small_llama, TOPICS, base="smollm2", keep_adapters=True)
    writer, (sorter, tokenizer) = loaded(first)[0], loaded(sorts, SORTS)
    mine, theirs = base_of(sorter), base_of(writer)
    body = {name for name in mine if name.startswith("model.")}
    assert body == {name for name in theirs if name.startswith("model.")}
    assert all(mine[name].data_ptr() == theirs[name].data_ptr() for name in body)
    whole = pretrained.read(sorts.model_dir, transformers.AutoModelForSequenceClassification, dtype="auto")
    assert (logits(sorter, tokenizer) - logits(whole.eval(), tokenizer)).abs().max() < 0.05
    assert set(sorter.config.id2label.values()) == {"graphs", "waves", "web"}


def test_an_encoder_keeps_its_head_with_the_adapters(train, small_bert):  # noqa: F811
    kept, plain = (train(small_bert, TOPICS, base="minilm", keep_adapters=keep) for keep in (True, False))
    assert (logits(*loaded(kept, SORTS)) - logits(*loaded(plain, SORTS))).abs().max() < 1e-5


def test_another_base_is_refused_and_a_missing_one_says_what_to_do(first, small_llama, tmp_path):  # noqa: F811
    folder = shutil.copytree(first.model_dir, tmp_path / "model")
    with pytest.raises(InputFileError, match=r"smollm2.*is not here") as err:
        pretrained.load_trained(folder, task=WRITES)
    assert "from the registry" in str(err.value.remedy)
    other = shutil.copytree(small_llama, tmp_path / "other")
    model = transformers.AutoModelForCausalLM.from_pretrained(other)
    model.model.norm.weight.data[0] += 1
    model.save_pretrained(other)
    adapters.place(folder, other)
    for read in (pretrained.load_trained, pretrained.load_whole):
        with pytest.raises(InputFileError, match=f"weights {weights_sha256(small_llama)[:16]}…, and those in"):
            read(folder, task=WRITES)
    adapters.place(folder, small_llama)
    moved = tmp_path / "moved"
    moved.mkdir()
    for part in (folder, adapters._pointer(folder)):
        part.rename(moved / part.name)
    assert pretrained.load_trained(moved / "model", task=WRITES)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("change", [("base.json", "dtype", "float32"), ("adapter_config.json", "lora_alpha", 400)])
def test_the_hash_covers_base_and_scale(change, first, tmp_path):
    folder = shutil.copytree(first.model_dir, tmp_path / "model")
    assert weights_sha256(folder) == first.weights_sha256
    file, name, value = change
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | {name: value}))
    assert weights_sha256(folder) != first.weights_sha256
    (folder / file).write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        weights_sha256(folder)


def test_engine_and_trainer_agree_as_of_any_version(first, small_data, small_llama):  # noqa: F811
    recipe = Finetune(**LINES, keep_adapters=True)
    expected = reference(recipe, model_dir=first.model_dir, weights_dir=small_llama, data_dir=small_data)
    found = check(TorchEngine(REF, first.model_dir, task="summarisation", warm=False), expected)
    assert found.passed and found.num_probes > 5, str(found)


def test_openvino_gets_them_merged_and_its_graph_passes_the_parity_gate(first, small_data, small_llama, tmp_path):  # noqa: F811
    pytest.importorskip("openvino_genai", reason="the extra `fast` is not installed")
    from components.serving.choice import export, held_against

    recipe = Finetune(**LINES, keep_adapters=True)
    expected = reference(recipe, model_dir=first.model_dir, weights_dir=small_llama, data_dir=small_data)
    export(first.model_dir, task="summarisation", folder=tmp_path / "graph")
    found = held_against(REF, first.model_dir, task="summarisation", folder=tmp_path / "graph", expected=expected)
    assert found.passed, str(found)


def test_an_answer_of_adapters_is_explained(first):
    model, tokenizer = loaded(first)
    found = explain(model, tokenizer, WRITES, TEXTS[0])
    assert any(piece.attribution for piece in found.pieces)


def test_a_preference_training_starts_from_adapters_and_keeps_its_own_on_that_version(first, tmp_path):
    import pandas as pd

    rows = pd.DataFrame(
        {"id": ["a", "b"], "prompt": TEXTS[:2], "chosen": ["It does.", "Good."], "rejected": ["No.", "Bad."]}
    )
    fields = LINES | {"base": "banyan-lines@1", "num_steps": 2, "keep_adapters": True}
    recipe = Preference(**fields, method="dpo")
    done = align(recipe, rows, weights_dir=first.model_dir, run_dir=tmp_path / "kept")
    about = adapters.reference(done.model_dir)
    assert (about.version, about.weights_sha256) == (("banyan-lines", 1), first.weights_sha256)
    again = align(recipe.model_copy(update={"keep_adapters": False}), rows, weights_dir=first.model_dir,
                  run_dir=tmp_path / "merged")  # fmt: skip
    whole = pretrained.read(done.model_dir, transformers.AutoModelForCausalLM, dtype="auto")
    assert weights_sha256(_as_saved(whole)) == again.weights_sha256
    assert (logits(*loaded(done)) - logits(*loaded(again))).abs().max() < 0.01


@pytest.mark.parametrize(
    "fields", [{"adaptation": "full", "lora_rank": None}, {"ensemble": {"method": "average_weights"}}]
)
def test_whole_weights_keep_no_adapters(fields):
    with pytest.raises(RecipeError, match="keep_adapters goes with"):
        parse_recipe({"kind": "finetune", **LINES, "keep_adapters": True, **fields})


def test_unsaid_the_field_leaves_a_recipes_hash_as_it_was():
    recipe = Finetune(**LINES)
    assert "keep_adapters" not in recipe.model_dump() and "keep_adapters" not in recipe.model_dump_json()
    assert recipe.sha256() != Finetune(**LINES, keep_adapters=True).sha256()
