"""Whether a part of a loop has anything to do, asked before a process is started for it.

A flow is walked through with its steps only looked up: each one's key is taken, as it is before a real run, and what an
earlier run kept under it is handed to the next. The first step that has nothing kept ends the walk, and the part is
run for real. So what is looked at is what would be done, and no flow's order of steps is written down twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task

from flows.full_disk import told_when_full

P = ParamSpec("P")
R = TypeVar("R")

_IS_LOOKING: ContextVar[bool] = ContextVar("is_looking", default=False)


class Changed(Exception):
    """A step has something to do."""


class Step(Task[P, R]):
    """A Prefect task that can also be looked up."""

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        only_reads: bool = False,
        at_hand: Callable[[dict[str, Any]], R | None] | None = None,
        **options: Any,
    ) -> None:
        """Args:
        only_reads: it changes nothing and takes no time: looked up, it is done.
        at_hand: what an earlier run left elsewhere than in Prefect's store, from the parameters; None: nothing.
        """
        super().__init__(fn, **options)
        self._only_reads, self._at_hand = only_reads, at_hand

    def __call__(self, *args: P.args, **given: P.kwargs) -> R:  # type: ignore[override]
        if not _IS_LOOKING.get():
            return super().__call__(*args, **given)
        return self._look_up(args, given)

    def _look_up(self, args: tuple[Any, ...], given: dict[str, Any]) -> R:
        from prefect.results import ResultStore, get_result_store
        from prefect.utilities.callables import get_call_parameters

        if self._only_reads:
            return self.fn(*args, **given)
        parameters = get_call_parameters(self.fn, args, given)
        if self._at_hand is not None and (found := self._at_hand(parameters)) is not None:
            return found
        key = self.cache_key_fn(None, parameters) if self.cache_key_fn else None  # type: ignore[arg-type]
        if key is None:
            raise Changed(f"{self.name}: there is no result of before")
        store = cast(ResultStore, get_result_store().update_for_task(self))  # sync: no loop runs here
        if not store.exists(key):
            raise Changed(f"{self.name}: its inputs are new")
        return cast(R, store.read(key).result)


def step(**options: Any) -> Callable[[Callable[P, R]], Step[P, R]]:
    """A decorator, as Prefect's `task` is; the options are its and `Step`'s."""

    def made(fn: Callable[P, R]) -> Step[P, R]:
        return Step(told_when_full(fn), **options)

    return made


@contextmanager
def looking() -> Iterator[None]:
    """Within it, steps are only looked up; one that has something to do raises Changed."""
    token = _IS_LOOKING.set(True)
    try:
        yield
    finally:
        _IS_LOOKING.reset(token)
