"""What the campaign of kills trains: checked here, so that an hour of kills does not end at a recipe's typing error."""

import typing

from components.models.families import FAMILIES, Objective
from components.recipes import parse_recipe
from components.tasks import get_task
from components.tasks.base import Head
from components.training.objectives import objective_of
from tests.benchmarks import kill_resume


def test_every_training_of_the_campaign_is_a_recipe_and_every_family_is_among_them():
    parsed = {name: parse_recipe(recipe, origin=name) for name, recipe in kill_resume.trainings().items()}
    assert {recipe.family for recipe in parsed.values() if recipe.kind == "pretrain"} == set(FAMILIES)
    tuned = [recipe for recipe in parsed.values() if recipe.kind != "pretrain"]
    assert {get_task(recipe.task).head for recipe in tuned} == set(typing.get_args(Head)), "every head"
    assert {recipe.method for recipe in tuned if recipe.kind == "preference"} == {"dpo", "kto"}
    told = {objective_of(recipe) for recipe in parsed.values() if recipe.kind == "pretrain"}
    assert told == set(typing.get_args(Objective))
    steps = {recipe.steps_over(36) for recipe in parsed.values()}
    assert min(steps) > 2 * kill_resume.SHARED["checkpoint_every_steps"], "a kill falls between two checkpoints"
