"""Language tasks, found by their files: a module here with a `TASK` is a task."""

import importlib
import pkgutil
from functools import cache

from components.errors import MappingError
from components.tasks.base import Task


@cache
def all_tasks() -> tuple[Task, ...]:
    """Every task, sorted by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.TASK for module in modules if hasattr(module, "TASK"))


def get_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        MappingError: there is none of that name.
    """
    for task in all_tasks():
        if task.name == name:
            return task
    known = ", ".join(task.name for task in all_tasks())
    raise MappingError(f"there is no task {name!r}", f"the tasks are: {known}")
