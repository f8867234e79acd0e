"""What the campaign of kills trains: checked here, so that an hour of kills does not end at a recipe's typing error."""

from components.models.families import FAMILIES
from components.recipes import parse_recipe
from tests.benchmarks import kill_resume


def test_every_training_of_the_campaign_is_a_recipe_and_every_family_is_among_them():
    parsed = {name: parse_recipe(recipe, origin=name) for name, recipe in kill_resume.trainings().items()}
    assert {recipe.family for recipe in parsed.values() if recipe.kind == "pretrain"} == set(FAMILIES)
    steps = {recipe.steps_over(36) for recipe in parsed.values()}
    assert min(steps) > 2 * kill_resume.SHARED["checkpoint_every_steps"], "a kill falls between two checkpoints"
