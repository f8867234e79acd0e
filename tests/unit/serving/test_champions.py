import asyncio
import threading

import pytest

from components.errors import GatewayUnavailable, NoChampion, RegistryError, RegistryUnavailable
from components.refs import ModelRef
from components.serving.champions import Champions
from components.tasks.base import Answer


def ref(version: int) -> ModelRef:
    return ModelRef(name="banyan-library", version=version, run_id=f"r{version}", weights_sha256=f"{version:064d}")


class Engine:
    task, example, labels, template_sha256 = "classification", "", ("a",), "0" * 64

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self.generation = {}

    def answer(self, texts: list[str]) -> list[Answer]:
        return [Answer(str(self.ref.version), 1.0) for _ in texts]


class Registry:
    """Aliases that a test sets; loading waits for `gate`."""

    def __init__(self) -> None:
        self.aliases: dict[str, ModelRef] = {}
        self.error: Exception | None = None
        self.broken: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def find(self) -> dict[str, ModelRef]:
        if self.error:
            raise self.error
        return dict(self.aliases)

    def load(self, table: str, ref: ModelRef) -> Engine:
        assert self.gate.wait(10)
        if ref.version in self.broken:
            raise RegistryError(f"{ref} is torn")
        return Engine(ref)


async def settle(champions: Champions) -> None:
    await champions.check()
    await asyncio.gather(*(seat.loading for seat in champions.seats() if seat.loading))


def version_that_answers(champions: Champions) -> int:
    return int(champions.batcher("library").submit("x").result(10).output)


@pytest.fixture
def registry():
    return Registry()


def run(registry: Registry, scenario) -> None:
    async def main() -> None:
        champions = Champions(find=registry.find, load=registry.load)
        try:
            await asyncio.wait_for(scenario(champions), 20)
        finally:
            registry.gate.set()
            await champions.close()

    asyncio.run(main())


def test_without_a_champion_the_reason_names_the_table(registry):
    async def scenario(champions):
        with pytest.raises(GatewayUnavailable, match="has not been asked yet"):
            champions.batcher("library")
        await settle(champions)
        with pytest.raises(NoChampion, match="no champion for 'library'"):
            champions.batcher("library")

    run(registry, scenario)


def test_the_first_champion_answers_once_loaded_and_says_so_before(registry):
    async def scenario(champions):
        registry.gate.clear()
        registry.aliases["library"] = ref(1)
        await champions.check()
        with pytest.raises(GatewayUnavailable, match="v1 is being loaded"):
            champions.batcher("library")
        assert champions.seats()[0].state == "loading"
        registry.gate.set()
        await settle(champions)
        assert version_that_answers(champions) == 1
        assert champions.seats()[0].state == "ready"

    run(registry, scenario)


def test_the_old_version_answers_while_the_new_one_loads(registry):
    async def scenario(champions):
        registry.aliases["library"] = ref(1)
        await settle(champions)
        registry.gate.clear()
        registry.aliases["library"] = ref(2)
        await champions.check()
        assert champions.seats()[0].state == "swapping"
        assert version_that_answers(champions) == 1
        registry.gate.set()
        await settle(champions)
        assert version_that_answers(champions) == 2
        assert champions.num_swaps == 1

    run(registry, scenario)


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_answering(registry):
    async def scenario(champions):
        registry.aliases["library"] = ref(1)
        await settle(champions)
        registry.aliases["library"] = ref(2)
        registry.broken.add(2)
        await settle(champions)
        [seat] = champions.seats()
        assert (seat.state, seat.problem) == ("stale", "banyan-library v2 is torn")
        assert version_that_answers(champions) == 1
        seat.retry_at = 0.0
        registry.broken.clear()
        await settle(champions)
        assert version_that_answers(champions) == 2
        assert (seat.state, seat.problem) == ("ready", "")

    run(registry, scenario)


def test_a_first_version_that_cannot_be_loaded_is_named_with_its_reason(registry):
    async def scenario(champions):
        registry.aliases["library"] = ref(1)
        registry.broken.add(1)
        await settle(champions)
        with pytest.raises(GatewayUnavailable, match="v1 could not be loaded: banyan-library v1 is torn"):
            champions.batcher("library")

    run(registry, scenario)


def test_an_alias_that_moves_on_during_a_load_is_followed_to_its_end(registry):
    async def scenario(champions):
        registry.gate.clear()
        registry.aliases["library"] = ref(1)
        await champions.check()
        registry.aliases["library"] = ref(2)
        await champions.check()
        registry.gate.set()
        for _ in range(2):  # version 1 arrives, wanted by nobody; then version 2
            await settle(champions)
        assert version_that_answers(champions) == 2
        assert champions.num_swaps == 0

    run(registry, scenario)


def test_an_unreachable_registry_changes_nothing_for_who_answers_now(registry):
    async def scenario(champions):
        registry.aliases["library"] = ref(1)
        await settle(champions)
        registry.error = RegistryUnavailable("MLflow is away")
        await settle(champions)
        assert version_that_answers(champions) == 1
        assert champions.registry_problem == "MLflow is away"
        with pytest.raises(GatewayUnavailable, match="MLflow is away"):
            champions.batcher("other")

    run(registry, scenario)


def test_a_champion_that_loses_its_alias_stops_answering(registry):
    async def scenario(champions):
        registry.aliases["library"] = ref(1)
        await settle(champions)
        registry.aliases.clear()
        await settle(champions)
        with pytest.raises(NoChampion):
            champions.batcher("library")

    run(registry, scenario)


def test_what_was_queued_before_a_swap_is_answered_by_the_old_version(registry):
    async def scenario(champions):
        registry.aliases["library"] = ref(1)
        await settle(champions)
        old = champions.batcher("library")
        slow = threading.Event()
        answer = old.engine.answer
        old.engine.answer = lambda texts: (slow.wait(10), answer(texts))[1]
        waiting = [old.submit("x") for _ in range(40)]
        registry.aliases["library"] = ref(2)
        await settle(champions)
        assert version_that_answers(champions) == 2
        slow.set()
        assert {future.result(10).output for future in waiting} == {"1"}

    run(registry, scenario)
