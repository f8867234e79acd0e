"""The loop's own business: what a step does when something is wrong, stops early, or saves memory."""

import logging

import pytest
import torch
from safetensors.torch import load_file

from components.errors import NonFiniteLoss, RecipeError, TrainingError
from components.recipes import Finetune, Pretrain, parse_recipe
from components.tasks.classification import Classification
from components.training import finetuning, loop
from components.training.finetuning import finetune, training_rows
from components.training.lock import Lock
from components.training.pretraining import pretrain

LABELS = ["graphs", "waves", "web"]


def changed(recipe, **fields):
    return type(recipe)(**{**recipe.model_dump(), **fields})


@pytest.fixture
def train(small_data, small_bert, tmp_path):
    def run(recipe, folder="run", **callbacks):
        if isinstance(recipe, Pretrain):
            return pretrain(recipe, data_dir=small_data, run_dir=tmp_path / folder, **callbacks)
        return finetune(recipe, data_dir=small_data, weights_dir=small_bert, run_dir=tmp_path / folder, **callbacks)

    return run


@pytest.mark.parametrize("most", [1e9, 0.5])
@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_mean_and_clipping_in_one_factor_are_those_of_pytorch_one_after_another(classify, most, l1):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(5)), torch.nn.Parameter()]
    for p in parameters[:2]:
        p.grad = torch.randn_like(p) * 7
    wanted = [p.grad / 3 + (l1 * p.detach().sign() if p.ndim > 1 else 0) for p in parameters[:2]]
    others = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in wanted]
    for p, gradient in zip(others, wanted, strict=True):
        p.grad = gradient
    norm = torch.nn.utils.clip_grad_norm_(others, most).item()
    recipe = changed(classify, max_gradient_norm=most, l1=l1)
    assert loop._finish_gradients(parameters, recipe, over=3, is_sharded=False) == pytest.approx(norm)
    for p, other in zip(parameters, others, strict=False):
        torch.testing.assert_close(p.grad, other.grad)


# ---------------------------------------------------------------- memory


@pytest.fixture
def small_device(monkeypatch):
    """A device that holds so many rows of a forward pass at once, from the n-th pass on, and says so as CUDA does."""
    ordinary, seen = Classification.loss, []

    def with_room_for(most, *, after=0):
        def loss(self, model, batch):
            seen.append(len(batch["labels"]))
            summed, count = ordinary(self, model, batch)
            if len(seen) > after and len(batch["labels"]) > most:
                summed.backward()  # part of the gradients is there when it comes
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return summed, count

        monkeypatch.setattr(Classification, "loss", loss)
        return seen

    return with_room_for


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_weights(train, classify, small_device, caplog):
    recipe = changed(classify, batch_size=8, num_steps=3, precision="fp32", optimizer="sgd")
    caplog.set_level(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:  # dropout draws otherwise in smaller batches
        patch.setattr(torch.nn.functional, "dropout", lambda x, *args, **kwargs: x)
        whole = load_file(train(recipe, "plain").model_dir / "model.safetensors")
        seen = small_device(2)
        halved = load_file(train(recipe, "halved").model_dir / "model.safetensors")
    assert seen[:3] == [8, 4, 2]
    assert set(seen[2:]) == {2}
    assert "step 1 of topics does not fit" in caplog.text
    for name, tensor in whole.items():
        torch.testing.assert_close(halved[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_row_that_does_not_fit_is_an_error_with_a_remedy(train, classify, small_device):
    small_device(0)
    with pytest.raises(TrainingError, match=r"not even one row fits.*gradient_checkpointing"):
        train(classify)


def test_a_division_is_remembered_when_a_run_is_resumed(train, classify, small_device):
    recipe = changed(classify, num_steps=6, checkpoint_every_steps=2)
    small_device(2, after=3)
    whole = train(recipe, "whole")

    class Killed(Exception): ...

    def die(progress):
        if progress.step == 5:
            raise Killed

    seen = small_device(2, after=3)
    seen.clear()
    with pytest.raises(Killed):
        train(recipe, "cut", on_step=die)
    seen.clear()
    resumed = train(recipe, "cut")
    assert resumed.resumed_from == 4
    assert seen[0] == 2  # it does not fail first
    assert resumed.weights_sha256 == whole.weights_sha256


def test_what_a_batchs_parts_cannot_help_is_an_error_with_a_remedy(train, classify, monkeypatch):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", full)
        with pytest.raises(TrainingError, match=r"step 1 of topics: what adamw keeps.*adaptation: lora"):
            train(classify)
    monkeypatch.setattr(finetuning, "_mean_loss", full)
    with pytest.raises(TrainingError, match=r"held-out rows after step 6.*halve batch_size"):
        train(changed(classify, validation_share=0.3), "looks")


def test_held_out_rows_are_looked_at_in_the_parts_that_fit(train, classify, small_device):
    seen = small_device(2)
    done = train(changed(classify, validation_share=0.4, precision="fp32"), "divided")
    assert done.metrics["heldout_loss"] > 0
    assert max(seen[seen.index(2) :]) == 2, "nothing larger was tried again"


def test_a_division_is_in_the_lock_and_the_same_run_is_still_found(train, classify, small_device):
    recipe = changed(classify, ensemble={"method": "vote", "members": 2})
    small_device(2, after=3)
    done, again = train(recipe), train(recipe)
    assert done.lock.division == {"member-0, step 4": 2, "member-1, step 1": 2}
    assert (again.resumed_from, again.lock) == (again.num_steps, done.lock)
    assert done.lock.exact_key != done.lock.undivided.exact_key
    assert done.lock.key == done.lock.undivided.key, "it is the same training"
    assert Lock.from_dict(done.lock.as_dict(), origin="x") == done.lock


def test_other_errors_of_the_device_are_not_taken_for_it(train, classify, monkeypatch):
    def broken(self, model, batch):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Classification, "loss", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(classify)


@pytest.mark.parametrize("family", ["gpt", "gpt2", "bert", "transformer"])
def test_activations_that_are_computed_again_are_not_kept_and_change_no_bit(family, train, read_corpus):
    kept: dict[bool, int] = {}
    hashes = set()
    for checkpointing in (False, True):
        sizes = []

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        recipe = changed(
            read_corpus, family=family, num_layers=3, num_steps=2, dropout=0.2, gradient_checkpointing=checkpointing
        )
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            hashes.add(train(recipe, str(checkpointing)).weights_sha256)
        kept[checkpointing] = sum(sizes)
    assert len(hashes) == 1
    assert kept[True] < 0.7 * kept[False]


def test_a_model_that_cannot_compute_again_is_refused(train, classify, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers.BertForSequenceClassification, "supports_gradient_checkpointing", False)
    with pytest.raises(RecipeError, match="gradient_checkpointing: BertForSequenceClassification cannot"):
        train(changed(classify, gradient_checkpointing=True))


# ---------------------------------------------------------------- losses that are not numbers


def test_a_loss_that_is_not_a_number_names_the_rows_of_its_micro_batch(train, classify, small_data, monkeypatch):
    ordinary, batches = Classification.loss, []

    def loss(self, model, batch):
        batches.append(batch)
        summed, count = ordinary(self, model, batch)
        return (summed * float("nan") if len(batches) == 8 else summed), count

    monkeypatch.setattr(Classification, "loss", loss)
    recipe = changed(classify, batch_size=2, num_accumulation_steps=2, checkpoint_every_steps=2)
    with pytest.raises(NonFiniteLoss, match=r"step 4 of topics: loss nan in micro-batch 2 of 2; its rows: ") as caught:
        train(recipe)
    named = caught.value.message.rsplit("its rows: ", 1)[1].split(", ")
    rows = training_rows(recipe, data_dir=small_data).set_index("id")
    labels = [LABELS.index(label) for label in rows.loc[named, "label"]]
    assert labels == batches[-1]["labels"].tolist()


def test_the_last_good_checkpoint_stays_after_a_loss_that_is_not_a_number(train, classify, monkeypatch, tmp_path):
    ordinary, calls = Classification.loss, []

    def loss(self, model, batch):
        calls.append(1)
        summed, count = ordinary(self, model, batch)
        return (summed * float("inf") if len(calls) == 5 else summed), count

    with monkeypatch.context() as patch:
        patch.setattr(Classification, "loss", loss)
        with pytest.raises(NonFiniteLoss, match="step 5 of topics: loss inf"):
            train(classify)
    assert train(classify).resumed_from == 4


def test_a_pretraining_names_its_rows_too(train, read_corpus):
    with pytest.raises(NonFiniteLoss, match=r"its rows: row \d+, row \d+"):
        train(changed(read_corpus, learning_rate=1e30, warmup_share=0.0))


# ---------------------------------------------------------------- stopping early


def test_patience_stops_and_keeps_the_best_weights(train, classify):
    """At a rate this high the held-out loss rises after a while."""
    looks = []
    recipe = changed(
        classify,
        num_steps=40,
        learning_rate=0.1,
        schedule="constant",
        validation_share=0.4,
        evaluate_every_steps=2,
        patience_evaluations=2,
        seed=1,
    )
    done = train(recipe, on_evaluate=looks.append)
    losses = [look.metrics["heldout_loss"] for look in looks]
    best = losses.index(min(losses))
    assert done.num_steps == len(done.losses) == looks[-1].step < 40
    assert len(losses) == best + 1 + 2
    assert done.metrics["heldout_loss"] == pytest.approx(losses[best])


def test_patience_needs_something_to_evaluate_on(classify):
    with pytest.raises(RecipeError, match="patience_evaluations: there is nothing to evaluate on"):
        parse_recipe({**classify.model_dump(), "patience_evaluations": 2})


# ---------------------------------------------------------------- averaging


def test_held_out_loss_is_that_of_the_mean_that_is_kept(train, read_corpus):
    recipe = changed(read_corpus, averaging="swa", swa_share=0.5)
    looks = []
    done = train(recipe, on_evaluate=looks.append)
    assert looks[-1].metrics["heldout_loss"] == done.metrics["heldout_loss"]
    plain = train(read_corpus, "plain")
    assert plain.metrics["heldout_loss"] != done.metrics["heldout_loss"]
    assert plain.losses == done.losses  # averaging does not steer the training


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"momentum": 0.9}, "momentum goes with optimizer: sgd"),
        ({"ema_decay": 0.9}, "ema_decay: has no effect"),
        ({"averaging": "ema"}, "ema_decay: is needed"),
        ({"averaging": "swa", "swa_share": 0.5, "ema_decay": 0.9}, "ema_decay: has no effect"),
        ({"decay_share": 0.2}, "decay_share: has no effect"),
        ({"schedule": "wsd"}, "decay_share: is needed"),
        ({"schedule": "wsd", "decay_share": 0.8, "warmup_share": 0.3}, "exceed the steps"),
    ],
)
def test_an_option_without_effect_and_one_that_is_missing_are_errors(fields, message, classify):
    with pytest.raises(RecipeError, match=message):
        parse_recipe({**Finetune(**classify.model_dump()).model_dump(), **fields})
