"""Alias moves: written down first, finished after a crash, and chained so that tampering shows."""

import threading

import pytest

from components.errors import LedgerError, RegistryUnavailable, UsageError, VersionNotFound
from components.ledger.journal import Journal
from components.ledger.store import GENESIS, Ledger, link_hash
from components.refs import ModelRef

NAME = "banyan-library"


class Registry:
    """Aliases of one model in memory; `fails` makes the next move fail, before or after it was made."""

    def __init__(self) -> None:
        self.aliases: dict[tuple[str, str], int] = {}
        self.registered = {1, 2, 3, 4}
        self.fails = ""

    def at_alias(self, name, alias):
        version = self.aliases.get((name, alias))
        return None if version is None else self.ref(name, version)

    def ref(self, name, version):
        if version not in self.registered:
            raise VersionNotFound(f"{name} v{version}")
        return ModelRef(name=name, version=version, run_id="r", weights_sha256=f"{version:064d}")

    def set_alias(self, ref, alias="champion"):
        failing, self.fails = self.fails, ""
        if failing == "before":
            raise RegistryUnavailable("down")
        self.aliases[ref.name, alias] = ref.version
        if failing == "after":
            raise RegistryUnavailable("down")


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def journal(ledger, settings) -> Journal:
    return Journal(ledger, settings.workspace)


@pytest.fixture
def promote(journal, registry):
    def move(version: int) -> None:
        journal.move(registry, registry.ref(NAME, version), actor="gate", evidence={"verdict": "promote"})

    return move


@pytest.fixture
def tamper(ledger):
    def execute(*statements: str) -> None:
        with ledger._database.write() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    return execute


def states(ledger: Ledger) -> list[tuple[str, int]]:
    return [(entry.state, entry.to_version) for entry in ledger.journal()]


def test_a_move_is_intended_then_made_then_done(promote, ledger, registry, clock):
    promote(1)
    promote(2)
    assert registry.aliases == {(NAME, "champion"): 2}
    entries = ledger.journal()
    assert [(e.state, e.from_version, e.to_version) for e in entries] == [
        ("intended", None, 1),
        ("done", None, 1),
        ("intended", 1, 2),
        ("done", 1, 2),
    ]
    last = entries[-1]
    assert (last.actor, last.evidence, last.at, last.weights_sha256) == (
        "gate",
        {"verdict": "promote"},
        clock.time,
        f"{2:064d}",
    )
    assert entries[0].move_id == entries[1].move_id != last.move_id


def test_others_learn_of_a_finished_move_through_the_outbox(promote, ledger):
    promote(1)
    (row,) = ledger.undelivered()
    assert (row.event, row.payload["to_version"]) == ("banyan.model.promoted", 1)


def test_moving_an_alias_to_where_it_is_writes_nothing(promote, ledger):
    promote(1)
    promote(1)
    assert len(ledger.journal()) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_move_that_was_interrupted_is_finished_once(when, promote, journal, registry, ledger):
    promote(1)
    registry.fails = when
    with pytest.raises(RegistryUnavailable):
        promote(2)
    assert states(ledger)[-1] == ("intended", 2)
    (added,) = journal.repair(registry)
    assert (added.state, added.to_version) == ("done", 2)
    assert "after an interruption" in added.note
    assert registry.aliases[NAME, "champion"] == 2
    assert journal.repair(registry) == []
    assert journal.verify(registry).ok


def test_the_next_move_finishes_an_open_one_first(promote, registry, ledger):
    registry.fails = "before"
    with pytest.raises(RegistryUnavailable):
        promote(1)
    promote(2)
    assert states(ledger) == [("intended", 1), ("done", 1), ("intended", 2), ("done", 2)]


def test_an_open_move_is_abandoned_when_somebody_else_moved_the_alias(promote, journal, registry, ledger):
    promote(1)
    registry.fails = "before"
    with pytest.raises(RegistryUnavailable):
        promote(2)
    registry.aliases[NAME, "champion"] = 3
    (added,) = journal.repair(registry)
    assert (added.state, added.note) == ("abandoned", "the alias was moved to v3 by other hands")
    assert registry.aliases[NAME, "champion"] == 3


def test_an_open_move_is_abandoned_when_its_version_is_no_more(promote, journal, registry):
    registry.fails = "before"
    with pytest.raises(RegistryUnavailable):
        promote(2)
    registry.registered.remove(2)
    (added,) = journal.repair(registry)
    assert (added.state, added.note) == ("abandoned", "v2 is no longer registered")


def test_nothing_moves_when_the_journal_cannot_be_written(promote, registry, journal):
    with pytest.raises(LedgerError, match="evidence"):
        journal.move(registry, registry.ref(NAME, 1), actor="gate", evidence={"when": object()})
    assert registry.aliases == {}


def test_rolling_back_goes_to_the_champion_before_and_then_further(promote, journal, registry):
    for version in (1, 2, 4):
        promote(version)
    back = [journal.rollback(registry, NAME, actor="ada", reason="worse in use").version for _ in range(2)]
    assert back == [2, 1]
    with_reason = journal.rollback(registry, NAME, actor="ada", reason="back again", to=4)
    assert (with_reason.version, registry.aliases[NAME, "champion"]) == (4, 4)


def test_rolling_back_to_a_time_goes_to_who_was_champion_then(promote, journal, registry, ledger, clock):
    for version in (1, 2, 4):
        promote(version)
        clock.time += 10
    times = {entry.to_version: entry.at for entry in ledger.journal() if entry.state == "done"}
    back = journal.rollback(registry, NAME, actor="ada", reason="worse since", at=times[2])
    assert (back.version, registry.aliases[NAME, "champion"]) == (2, 2)
    assert ledger.journal()[-1].evidence == {"reason": "worse since", "at": times[2]}
    assert journal.who_served(NAME, at=times[2]).to_version == 2, "what was is not changed by it"


def test_rolling_back_to_a_time_without_another_champion_says_why(promote, journal, registry, ledger, clock):
    with pytest.raises(UsageError, match="nobody was champion"):
        journal.rollback(registry, NAME, actor="ada", reason="", at=0.0)
    promote(1)
    promote(2)
    with pytest.raises(UsageError, match="nobody was champion of banyan-library at 1970-01-01T00:00:00") as found:
        journal.rollback(registry, NAME, actor="ada", reason="", at=0.0)
    assert "first champion came at 20" in found.value.remedy
    with pytest.raises(UsageError, match="has not come yet"):
        journal.rollback(registry, NAME, actor="ada", reason="", at=clock.time + 1)
    with pytest.raises(UsageError, match="v2 is the champion already"):
        journal.rollback(registry, NAME, actor="ada", reason="", at=clock.time)
    with pytest.raises(UsageError, match="one of the two"):
        journal.rollback(registry, NAME, actor="ada", reason="", to=1, at=clock.time)
    assert [entry.action for entry in ledger.journal() if entry.state == "done"] == ["promote", "promote"]


def test_rolling_back_after_other_hands_goes_to_the_last_one_of_the_journal(promote, journal, registry):
    promote(1)
    promote(2)
    registry.aliases[NAME, "champion"] = 3
    assert journal.rollback(registry, NAME, actor="ada", reason="who did this?").version == 2


def test_there_is_nothing_to_roll_back_to_from_the_first_champion(promote, journal, registry):
    promote(1)
    with pytest.raises(UsageError, match="no earlier champion"):
        journal.rollback(registry, NAME, actor="ada", reason="")
    promote(2)
    with pytest.raises(UsageError, match="v3 was not champion before"):
        journal.rollback(registry, NAME, actor="ada", reason="", to=3)


def test_a_changed_entry_shows(promote, journal, tamper):
    promote(1)
    tamper(
        """UPDATE journal SET entry = replace(entry, '"gate"', '"ada"') WHERE sequence = 2""",
    )
    assert journal.verify().problems == ("entry 2 was changed after it was written",)


def test_a_removed_entry_shows(promote, journal, tamper):
    promote(1)
    tamper(
        "DELETE FROM journal WHERE sequence = 1",
    )
    assert journal.verify().problems[0] == "entry 1 is missing"


def test_a_removed_entry_shows_though_the_rest_was_renumbered(promote, journal, tamper):
    promote(1)
    promote(2)
    tamper("DELETE FROM journal WHERE sequence = 2", "UPDATE journal SET sequence = sequence - 1 WHERE sequence > 2")
    assert journal.verify().problems == ("entry 2 does not follow the one before it",)


def test_reordered_entries_show(promote, journal, tamper):
    promote(1)
    promote(2)
    tamper(
        "UPDATE journal SET sequence = 99 WHERE sequence = 2",
        "UPDATE journal SET sequence = 2 WHERE sequence = 3",
        "UPDATE journal SET sequence = 3 WHERE sequence = 99",
    )
    assert "entry 2 does not follow the one before it" in journal.verify().problems


def test_a_chain_that_was_written_anew_after_a_change_shows_by_its_head(promote, journal, ledger, tamper):
    promote(1)
    promote(2)
    previous, anew = GENESIS, []
    for row in ledger.journal_rows():
        entry = row.entry.replace('"gate"', '"ada"')
        link = link_hash(previous, entry)
        anew.append(
            f"UPDATE journal SET entry = '{entry}', previous = '{previous}', hash = '{link}' "
            f"WHERE sequence = {row.sequence}"
        )
        previous = link
    tamper(*anew)
    (problem,) = journal.verify().problems
    assert "no longer there" in problem


def test_who_served_is_told_for_any_time(promote, journal, registry, clock):
    before = clock.time
    clock.time += 10
    promote(1)
    first = clock.time
    clock.time += 10
    promote(2)
    clock.time += 10
    journal.rollback(registry, NAME, actor="ada", reason="")
    served = [journal.who_served(NAME, at=at) for at in (before, first, first + 9, first + 10, first + 19, first + 20)]
    assert [entry and entry.to_version for entry in served] == [None, 1, 1, 2, 2, 1]
    assert journal.who_served("banyan-other", at=clock.time) is None


def test_an_end_that_was_cut_off_shows_and_stops_further_moves(promote, journal, registry, tamper):
    promote(1)
    promote(2)
    tamper(
        "DELETE FROM journal WHERE sequence > 2",
        "UPDATE counters SET value = 2 WHERE name = 'journal'",
    )
    (problem,) = journal.verify().problems
    assert "no longer there" in problem
    with pytest.raises(LedgerError, match="does not verify"):
        promote(3)
    assert registry.aliases[NAME, "champion"] == 2, "a new entry would have put a new head over the evidence"


def test_an_end_that_was_cut_off_with_the_head_file_shows_and_stops_further_moves(promote, journal, registry, tamper):
    promote(1)
    promote(2)
    tamper("DELETE FROM journal WHERE sequence > 2", "UPDATE counters SET value = 2 WHERE name = 'journal'")
    journal.head_file.unlink()
    (problem,) = journal.verify().problems
    assert problem.startswith("journal.head is missing")
    for move in (lambda: promote(3), lambda: journal.rollback(registry, NAME, actor="ada", reason="", to=1)):
        with pytest.raises(LedgerError, match=r"journal\.head is missing") as refused:
            move()
        assert "banyan journal accept" in refused.value.remedy
    with pytest.raises(LedgerError, match=r"journal\.head is missing"):
        journal.repair(registry)
    assert not journal.head_file.exists(), "it was not anchored anew in silence"
    assert journal.accept() == journal.verify().head
    registry.aliases[NAME, "champion"] = 1
    promote(3)
    assert journal.verify(registry).ok


def test_a_new_head_makes_no_changed_entry_good_and_none_is_given_without_need(promote, journal, tamper):
    promote(1)
    with pytest.raises(UsageError, match="nothing to accept"):
        journal.accept()
    tamper("""UPDATE journal SET entry = replace(entry, '"gate"', '"ada"') WHERE sequence = 2""")
    journal.head_file.unlink()
    with pytest.raises(UsageError, match="not whole: entry 2 was changed"):
        journal.accept()


def test_the_head_file_is_there_before_the_first_entry_is(promote, journal, registry, ledger, monkeypatch):
    """A crash right after the first entry is then no alarm."""
    append = ledger.append_journal
    heads = []

    def crash(entry, **more):
        heads.append(journal.head_file.read_text().strip())
        append(entry, **more)
        raise OSError("the power went")

    with monkeypatch.context() as first, pytest.raises(OSError, match="power"):
        first.setattr(ledger, "append_journal", crash)
        promote(1)
    assert heads == [GENESIS]
    assert journal.verify().ok
    journal.repair(registry)
    assert (registry.aliases[NAME, "champion"], journal.verify(registry).ok) == (1, True)


def test_a_head_that_lags_after_a_crash_is_no_alarm(promote, journal, registry):
    promote(1)
    old = journal.head_file.read_text()
    promote(2)
    journal.head_file.write_text(old)
    assert journal.verify().ok
    journal.repair(registry)
    assert journal.head_file.read_text().strip() == journal.verify().head


def test_an_alias_that_was_moved_by_other_hands_shows(promote, journal, registry):
    promote(1)
    registry.aliases[NAME, "champion"] = 3
    assert journal.verify().ok, "the chain itself is whole"
    (problem,) = journal.verify(registry).problems
    assert problem == "alias champion of banyan-library is at v3, but the journal last moved it to v1"


def test_moves_that_come_at_once_queue_up(settings, registry):
    def move(version: int) -> None:
        with Ledger(settings) as own:
            Journal(own, settings.workspace).move(
                registry, registry.ref(NAME, version), actor=f"thread {version}", evidence={}
            )

    threads = [threading.Thread(target=move, args=(version,)) for version in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Ledger(settings) as ledger:
        entries = ledger.journal()
        assert [e.state for e in entries] == ["intended", "done"] * 4
        assert [e.from_version for e in entries[2::2]] == [e.to_version for e in entries[1:-1:2]]
        assert Journal(ledger, settings.workspace).verify(registry).ok
