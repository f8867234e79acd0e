"""What threads write at the same time is committed together, and each is told the truth about its own part."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, event, select
from sqlalchemy.exc import OperationalError

from components.ledger.database import _engine
from components.ledger.group_commit import GroupCommit

numbers = Table("numbers", MetaData(), Column("number", Integer, primary_key=True))


@pytest.fixture
def engine(tmp_path):
    engine = _engine(f"sqlite:///{tmp_path}/numbers.db")
    numbers.metadata.create_all(engine)
    yield engine.execution_options(banyan_write=True)
    engine.dispose()


def kept(engine) -> list[int]:
    with engine.begin() as connection:
        return [row.number for row in connection.execute(select(numbers).order_by(numbers.c.number))]


def test_a_lone_writer_is_on_disk_when_it_returns(engine):
    groups = GroupCommit(engine)
    with groups.join() as connection:
        connection.execute(numbers.insert(), {"number": 1})
    assert (kept(engine), groups.num_commits) == ([1], 1)


def crowd(groups: GroupCommit, wrong: set[int], *, size: int = 12) -> list[object]:
    """All write while the first holds its turn; what became of each."""
    first_inside, go_on = threading.Event(), threading.Event()

    def write(number: int) -> object:
        try:
            with groups.join() as connection:
                connection.execute(numbers.insert(), {"number": number})
                if number == 0:
                    first_inside.set()
                    assert go_on.wait(20)
                if number in wrong:
                    raise ValueError(number)
        except Exception as err:
            return type(err)
        return number

    with ThreadPoolExecutor(size) as threads:
        said = [threads.submit(write, 0)]
        assert first_inside.wait(20)
        said += [threads.submit(write, number) for number in range(1, size)]
        while groups._num_waiting < size - 1:
            pass
        go_on.set()
        return [one.result(30) for one in said]


def test_those_who_wait_are_committed_together(engine):
    groups = GroupCommit(engine)
    assert crowd(groups, wrong=set()) == list(range(12))
    assert kept(engine) == list(range(12))
    assert groups.num_commits < 12


def test_a_group_has_a_bound(engine):
    groups = GroupCommit(engine, most_together=3)
    crowd(groups, wrong=set())
    assert kept(engine) == list(range(12))
    assert groups.num_commits >= 4


@pytest.mark.parametrize("wrong", [{0}, {11}, {3, 7}, set(range(12))])
def test_an_error_undoes_its_own_part_and_nobody_elses(engine, wrong):
    said = crowd(GroupCommit(engine), wrong=wrong)
    assert said == [ValueError if number in wrong else number for number in range(12)]
    assert kept(engine) == [number for number in range(12) if number not in wrong]


def test_a_commit_that_fails_is_told_to_all_it_was_for(engine):
    groups = GroupCommit(engine)

    @event.listens_for(engine, "commit")
    def _refuse(_) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk full"))

    said = crowd(groups, wrong=set(), size=6)
    event.remove(engine, "commit", _refuse)
    assert said == [OperationalError] * 6
    assert kept(engine) == []
    with groups.join() as connection:
        connection.execute(numbers.insert(), {"number": 7})
    assert kept(engine) == [7]


def test_a_group_whose_next_member_was_interrupted_is_committed_all_the_same(engine):
    groups = GroupCommit(engine)
    groups._num_waiting += 1  # somebody who will never come
    with groups.join() as connection:
        connection.execute(numbers.insert(), {"number": 1})
    assert kept(engine) == [1]
