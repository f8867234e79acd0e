"""A registered model that an ingest asks: for names of persons, for what is missing, for a text in other words."""

from typing import TYPE_CHECKING, Any

from components.errors import RecipeError, VersionNotFound
from components.settings import Settings

if TYPE_CHECKING:
    from components.tasks.base import Task


class RegisteredModel:
    """A model with its tokenizer; gives what it says to texts."""

    def __init__(self, model: str, task: "Task", network: Any, tokenizer: Any) -> None:
        self.model = model
        """Which version it is, e.g. `banyan-emoji@3`."""
        self.task, self.network, self.tokenizer = task, network, tokenizer

    def __call__(self, texts: list[str]) -> list[str]:
        """For each text the model's answer: a label, a text, or the JSON of spans."""
        return [answer.output for answer in self.task.answer(self.network, self.tokenizer, texts)]


def open_model(which: str, task: str, *, settings: Settings) -> RegisteredModel:
    """A registered model of a task, `banyan-emoji` for its champion or `banyan-emoji@3`.

    Raises:
        RecipeError: there is no such version, or it is another task's.
        RegistryUnavailable, ServiceDown: the registry does not answer.
    """
    from components.models.pretrained import load_trained
    from components.registry import Registry
    from components.supervisor import addresses
    from components.tasks import get_task

    registry = Registry(addresses(settings).mlflow)
    name, _, number = which.partition("@")
    try:
        ref = registry.ref(name, int(number)) if number else registry.champion(name)
    except VersionNotFound as err:
        raise RecipeError(err.message, "see those there are: banyan status, or the dashboard") from err
    if ref is None:
        raise RecipeError(f"{name} has no champion", f"name a version, e.g. {name}@1")
    info = registry.get(ref)
    if info.task != task:
        raise RecipeError(f"{which} is a model of {info.task}", f"name one of the task {task}")
    own = get_task(task)
    network, tokenizer = load_trained(registry.fetch(ref, settings), task=own)
    return RegisteredModel(f"{ref.name}@{ref.version}", own, network, tokenizer)
