"""Language tasks, found by their files: a module here with a `TASK` is a task."""

import importlib
import pkgutil
from functools import cache

from components.errors import MappingError
from components.tasks.base import Task


@cache
def all_tasks() -> dict[str, Task]:
    """Every task by name, sorted."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name != "base")
    tasks = [importlib.import_module(f"{__name__}.{name}").TASK for name in names]
    return {task.name: task for task in tasks}


def get_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        MappingError: there is none of that name.
    """
    try:
        return all_tasks()[name]
    except KeyError:
        raise MappingError(f"there is no task {name!r}", f"the tasks are: {', '.join(all_tasks())}") from None
