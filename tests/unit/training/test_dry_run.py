from pathlib import Path

import pytest
import torch

from components import assets
from components.data import versioning
from components.errors import MappingError, NonFiniteLoss, RecipeError
from components.models.families import FAMILIES
from components.recipes import Finetune, load_recipe
from components.training.dry_run import dry_run, dry_run_on_newest

RECIPES = Path(__file__).parents[3] / "flows" / "recipes"


def rehearse(recipe, installation):
    return dry_run(recipe, data=versioning.head(installation), settings=installation)


@pytest.mark.parametrize("name", ["article-transformer", "article-lstm"])
def test_the_articles_projects_go_through(name, installation):
    """Narrow, so that it takes a second; the next test has them in their own widths."""
    narrow = {"batch_size": 8, "max_length_tokens": 16, "hidden_size": 32}
    recipe = load_recipe(RECIPES / f"{name}.yaml").model_copy(update=narrow)
    found = rehearse(recipe, installation)
    assert len(found.losses) == 2
    assert found.metrics["heldout_loss"] > 0
    assert ("heldout_accuracy" in found.metrics) == (name == "article-transformer")
    assert bool(found.answer) == (name == "article-lstm")
    assert found.num_steps == recipe.steps_over(found.num_rows) > 2


def test_the_articles_models_have_the_articles_shapes():
    transformer, lstm = (load_recipe(RECIPES / f"article-{name}.yaml") for name in ("transformer", "lstm"))
    assert (transformer.hidden_size, transformer.num_heads, transformer.num_layers) == (512, 8, 2)
    assert (transformer.num_epochs, transformer.optimizer, transformer.learning_rate) == (10, "adam", 0.001)
    assert (lstm.num_epochs, lstm.batch_size) == (10, 64)
    writes = FAMILIES["lstm"].build(lstm, lstm.vocab_size)
    sizes = {"embedding": 10_000 * 64, "cells": 4 * 128 * (64 + 128 + 2), "lm_head": 10_000 * 128 + 10_000}
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in writes.named_children()} == sizes | {
        "dropout": 0
    }
    judges = FAMILIES["transformer"].build(transformer, transformer.vocab_size)
    assert len(judges.encoder.layers) == len(judges.decoder.layers) == 2
    ids = torch.arange(8)[None]
    assert judges(input_ids=ids, decoder_input_ids=ids).logits.shape == (1, 1)
    assert tuple(judges.encoder.layers[0].inner.weight.shape) == (2048, 512)


def test_a_fine_tuning_goes_through_from_its_base_to_an_answer(installation, classify, small_bert, monkeypatch):
    monkeypatch.setattr(assets, "weights", lambda name, settings: small_bert)
    before = sorted(installation.workspace.root.rglob("*"))
    found = dry_run_on_newest(classify.model_copy(update={"validation_share": 0.3}), settings=installation)
    assert found.answer in {"graphs", "waves", "web"}
    assert found.num_steps == classify.num_steps
    assert sorted(installation.workspace.root.rglob("*")) == before  # nothing is kept
    assert "held out" in found.lines()[0]


def test_of_an_ensemble_the_first_member_goes_through_and_it_is_said(installation, classify, small_bert, monkeypatch):
    monkeypatch.setattr(assets, "weights", lambda name, settings: small_bert)
    three = Finetune(**{**classify.model_dump(), "ensemble": {"method": "vote", "members": 3}})
    found = dry_run_on_newest(three, settings=installation)
    assert (len(found.losses), found.num_steps, found.num_members) == (2, classify.num_steps, 3)
    assert "the first of 3 members" in found.lines()[1]
    assert dry_run_on_newest(classify, settings=installation).losses == found.losses, "a member is as any training"


def test_an_ensemble_that_cannot_be_is_refused_at_once(installation, write_lines):
    voted = Finetune(**{**write_lines.model_dump(), "ensemble": {"method": "vote", "members": 2}})
    with pytest.raises(RecipeError, match="no labels to vote for"):
        dry_run_on_newest(voted, settings=installation)


def test_what_would_fail_after_hours_fails_at_once(installation, read_corpus):
    with pytest.raises(MappingError, match="no table 'novels'"):
        rehearse(read_corpus.model_copy(update={"table": "novels"}), installation)
    with pytest.raises(NonFiniteLoss, match="step 2"):
        rehearse(read_corpus.model_copy(update={"learning_rate": 1e30, "warmup_share": 0.0}), installation)
