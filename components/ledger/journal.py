"""The journal: which version an alias pointed at, when, who moved it and on what evidence.

MLflow keeps neither time nor actor of an alias. So a move is first written here (`intended`), then made
in MLflow, then closed here (`done`). A crash in between leaves an open move, which the next start closes
by looking where the alias stands. Every entry carries the hash of the one before; the newest hash is
also kept in a file outside the database, so that cutting the chain's end off shows as well. The file is
there before the first entry is: where there are entries and no file, an end may have been cut off.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from filelock import FileLock
from sqlalchemy import Connection

from components.errors import LedgerError, UsageError, VersionNotFound
from components.ledger.schema import JournalEntry, SplitKind
from components.ledger.store import GENESIS, Ledger, link_hash
from components.refs import ModelRef
from components.settings import Workspace

Alias = Literal["champion", "challenger"]


class Aliases(Protocol):
    """What the journal asks of a registry."""

    def at_alias(self, name: str, alias: Alias) -> ModelRef | None: ...
    def ref(self, name: str, version: int) -> ModelRef: ...
    def set_alias(self, ref: ModelRef, alias: Alias = "champion") -> None: ...


@dataclass(frozen=True)
class Health:
    """What verifying the journal found. `problems` is empty when all is well."""

    num_entries: int
    head: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


class Journal:
    """The only way to move an alias."""

    def __init__(self, ledger: Ledger, workspace: Workspace) -> None:
        self._ledger = ledger
        self.head_file = workspace.root / "journal.head"
        self._lock_file = workspace.locks / "journal.lock"

    # ------------------------------------------------------------ moving

    def move(
        self,
        registry: Aliases,
        to: ModelRef,
        *,
        actor: str,
        evidence: Mapping[str, Any],
        alias: Alias = "champion",
    ) -> None:
        """Point `alias` of the model at `to`. Nothing happens when it does already.

        Args:
            actor: who decided: 'gate', or an operator's name.
            evidence: what it rests on, as JSON: the gate's verdict, or a reason.

        Raises:
            RegistryUnavailable: MLflow did not answer; the move stays intended, and the next start finishes it.
            LedgerError: the journal could not be written; the alias has not moved.
        """
        with self._alone():
            self._repair(registry)
            self._move(registry, to, action="promote", actor=actor, evidence=evidence, alias=alias)

    def rollback(
        self,
        registry: Aliases,
        name: str,
        *,
        actor: str,
        reason: str,
        to: int | None = None,
        at: float | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> ModelRef:
        """Point `champion` at an earlier champion; default: the one before. Gives the version that serves now.

        Args:
            to: a version.
            at: or a time, in seconds since the epoch (UTC): the version that was champion then.

        Raises:
            UsageError: there is none to go back to, version `to` never was champion, or nobody was at that time.
        """
        if to is not None and at is not None:
            raise UsageError("a version and a time to go back to were given", "name one of the two")
        with self._alone():
            self._repair(registry)
            evidence = {**(evidence or {}), "at": at} if at is not None else evidence
            to = self._version_at(name, at) if at is not None else to
            now = registry.at_alias(name, "champion")
            served = [e.to_version for e in self._done(name, "champion") if now is None or e.to_version != now.version]
            if to is None and not served:
                raise UsageError(f"{name} has no earlier champion to go back to", "banyan status shows what there is")
            if to is not None and now is not None and to == now.version:
                raise UsageError(f"{name} v{to} is the champion already", "banyan journal log shows who moved it")
            if to is not None and to not in served:
                known = ", ".join(f"v{version}" for version in sorted(set(served))) or "none"
                raise UsageError(f"{name} v{to} was not champion before", f"earlier champions: {known}")
            # Not simply the last other one: after a rollback from 3 to 2, the next goes on to 1.
            target = to if to is not None else self._before(name, now.version if now else None)
            ref = registry.ref(name, target)
            why = {"reason": reason, **(evidence or {})}
            self._move(registry, ref, action="rollback", actor=actor, evidence=why, alias="champion")
        return ref

    def _version_at(self, name: str, at: float) -> int:
        """Who was champion then. Raises UsageError."""
        when = _moment(at)
        if at > self._ledger.now():
            raise UsageError(f"{when} has not come yet", "name a time in the past, or a version")
        entry = self.who_served(name, at=at)
        if entry is None:
            first = next((one.at for one in self._done(name, "champion")), None)
            known = f"its first champion came at {_moment(first)}" if first is not None else "it never had a champion"
            raise UsageError(f"nobody was champion of {name} at {when}", f"{known}; see: banyan journal log")
        return entry.to_version

    def _before(self, name: str, now: int | None) -> int:
        """The champion before `now`, as a browser's back button has it: going back removes what was left."""
        stack: list[int] = []
        for entry in self._done(name, "champion"):
            if entry.action == "rollback" and entry.to_version in stack:
                del stack[stack.index(entry.to_version) + 1 :]
            else:
                stack.append(entry.to_version)
        if stack[-1] == now and len(stack) > 1:
            return stack[-2]
        # Elsewhere than where the journal left it, or back at the first: the last champion that is another one.
        return next(entry.to_version for entry in reversed(self._done(name, "champion")) if entry.to_version != now)

    def _move(
        self,
        registry: Aliases,
        to: ModelRef,
        *,
        action: Literal["promote", "rollback"],
        actor: str,
        evidence: Mapping[str, Any],
        alias: Alias,
    ) -> None:
        now = registry.at_alias(to.name, alias)
        if now is not None and now.version == to.version:
            return
        entry = {
            "move_id": uuid.uuid4().hex,
            "action": action,
            "name": to.name,
            "alias": alias,
            "from_version": now.version if now else None,
            "to_version": to.version,
            "weights_sha256": to.weights_sha256,
            "actor": actor,
            "evidence": dict(evidence),
            "note": "",
        }
        self._append(entry | {"state": "intended"})
        registry.set_alias(to, alias)
        self._append(entry | {"state": "done"}, event=f"banyan.model.{_EVENTS[action]}")

    def split(
        self,
        ref: ModelRef,
        *,
        kind: SplitKind,
        action: Literal["canary", "shadow", "control", "off"],
        actor: str,
        evidence: Mapping[str, Any],
        beside: Callable[[Connection], None],
    ) -> None:
        """Record that somebody else answers beside the champion, or no longer; `beside` makes it so.

        Both in one transaction: unlike an alias, this is the ledger's own.

        Raises:
            LedgerError: the journal does not verify, or could not be written; nothing has changed.
        """
        with self._alone():
            self._must_verify()
            self._write_head()
            entry: dict[str, Any] = {"move_id": uuid.uuid4().hex, "action": action, "name": ref.name, "alias": kind}
            entry |= {"from_version": None, "to_version": ref.version, "weights_sha256": ref.weights_sha256}
            entry |= {"actor": actor, "evidence": dict(evidence), "note": "", "state": "done"}
            self._append(entry, event="banyan.model.traffic", beside=beside)

    # ------------------------------------------------------------ repairing

    def repair(self, registry: Aliases) -> list[JournalEntry]:
        """Close the moves that a crash left open, and the head file; gives the entries that this added.

        An open move was decided and written down, so it is finished, unless the alias has gone elsewhere since
        or the version is no more: then it is abandoned, and the entry says why.
        """
        with self._alone():
            return self._repair(registry)

    def _repair(self, registry: Aliases) -> list[JournalEntry]:
        self._must_verify()
        self._write_head()  # it lags when the crash came between the database and the file
        entries = self._ledger.journal()
        closed = {entry.move_id for entry in entries if entry.state != "intended"}
        num_before = len(entries)
        for move in entries:
            if move.state == "intended" and move.move_id not in closed:
                self._finish(registry, move)
        return self._ledger.journal()[num_before:]

    def accept(self) -> str:
        """Take what the ledger says now for the whole journal, where its head file is missing or knows another end.

        Gives the new head. It is for the operators' door (`ledger.actions`), where it leaves a row.

        Raises:
            UsageError: nothing is to be accepted, or an entry was changed, which no new head makes good.
        """
        with self._alone():
            rows = self._ledger.journal_rows()
            if broken := self._broken_links(rows):
                raise UsageError(f"the journal itself is not whole: {broken[0]}", "banyan restore FILE")
            if self._lost_end(rows) is None:
                raise UsageError("the journal verifies: there is nothing to accept", "banyan journal verify")
            return self._write_head()

    def join(self) -> str:
        """The head that a machine begins with which is new to a shared ledger: what the ledger says now.

        Raises:
            LedgerError: the machine has a head already, or an entry was changed.
        """
        with self._alone():
            broken = self._broken_links(self._ledger.journal_rows())
            if broken or self.head_file.exists():
                why = broken[0] if broken else f"{self.head_file} is there already"
                raise LedgerError(f"this machine does not join the journal: {why}", "banyan journal verify")
            return self._write_head()

    def _must_verify(self) -> None:
        if problems := self.verify().problems:  # a new entry would put a new head over the evidence
            raise LedgerError(
                f"the journal does not verify: {problems[0]}",
                f"restore the ledger and {self.head_file.name} from the same backup; to accept what the ledger says "
                "now: banyan journal accept --why TEXT",
            )

    def _finish(self, registry: Aliases, move: JournalEntry) -> None:
        names = (
            "move_id",
            "action",
            "name",
            "alias",
            "from_version",
            "to_version",
            "weights_sha256",
            "actor",
            "evidence",
        )
        entry = {name: getattr(move, name) for name in names}
        alias: Alias = "champion" if move.alias == "champion" else "challenger"
        now = registry.at_alias(move.name, alias)
        version = now.version if now else None
        note = "finished after an interruption: the alias had already moved"
        if version != move.to_version:
            if version != move.from_version:
                note = f"the alias was moved to v{version} by other hands" if version else "the alias was removed"
                self._append(entry | {"state": "abandoned", "note": note})
                return
            try:
                registry.set_alias(registry.ref(move.name, move.to_version), alias)
            except VersionNotFound:
                self._append(entry | {"state": "abandoned", "note": f"v{move.to_version} is no longer registered"})
                return
            note = "finished after an interruption: the alias had not moved yet"
        self._append(entry | {"state": "done", "note": note}, event=f"banyan.model.{_EVENTS[move.action]}")

    # ------------------------------------------------------------ asking

    def who_served(self, name: str, *, at: float) -> JournalEntry | None:
        """The finished move that made a version champion and held at `at` (seconds since the epoch, UTC), or None."""
        moves = [entry for entry in self._done(name, "champion") if entry.at <= at]
        return moves[-1] if moves else None

    # ------------------------------------------------------------ verifying

    def verify(self, registry: Aliases | None = None) -> Health:
        """Check every link, the head file and, with a registry, that the aliases stand where the journal says."""
        rows = self._ledger.journal_rows()
        problems = self._broken_links(rows)
        if lost := self._lost_end(rows):
            problems.append(lost)
        if registry is not None and not problems:
            problems += self._strayed(registry)
        return Health(len(rows), rows[-1].hash if rows else GENESIS, tuple(problems))

    def _broken_links(self, rows: Sequence[Any]) -> list[str]:
        problems: list[str] = []
        previous = GENESIS
        for position, row in enumerate(rows, start=1):
            if row.sequence != position:
                problems.append(f"entry {position} is missing")
                break
            if row.previous != previous:
                problems.append(f"entry {position} does not follow the one before it")
            if link_hash(row.previous, row.entry) != row.hash:
                problems.append(f"entry {position} was changed after it was written")
            previous = row.hash
        return problems

    def _lost_end(self, rows: Sequence[Any]) -> str | None:
        """What the head file says against the chain's end; it may lag, by what was added since it was written."""
        head = self._read_head()
        if not rows and head in ("", GENESIS):
            return None
        if not head:
            return f"{self.head_file.name} is missing: if entries were cut off the end, it would not show"
        if head != GENESIS and head not in {row.hash for row in rows}:
            return f"the newest entry that {self.head_file.name} knows ({head[:12]}…) is no longer there"
        return None

    def _strayed(self, registry: Aliases) -> Iterator[str]:
        entries = self._ledger.journal()
        moves = [entry for entry in entries if entry.state == "done" and entry.action in _EVENTS]
        last = {(entry.name, entry.alias): entry.to_version for entry in moves}
        for (name, alias), version in last.items():
            now = registry.at_alias(name, "champion" if alias == "champion" else "challenger")
            if now is None or now.version != version:
                where = f"at v{now.version}" if now else "gone"
                yield f"alias {alias} of {name} is {where}, but the journal last moved it to v{version}"

    # ------------------------------------------------------------ chain and head

    def _done(self, name: str, alias: Alias) -> list[JournalEntry]:
        return [e for e in self._ledger.journal(name) if e.state == "done" and e.alias == alias]

    def _append(
        self, entry: Mapping[str, Any], *, event: str = "", beside: Callable[[Connection], None] | None = None
    ) -> None:
        try:
            json.dumps(entry["evidence"])
        except TypeError as err:
            raise LedgerError(f"the evidence of a move cannot be kept: {err}", "give it as JSON values") from err
        self._ledger.append_journal(entry, event=event, beside=beside)
        self._write_head()

    def _read_head(self) -> str:
        try:
            return self.head_file.read_text("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as err:
            raise LedgerError(f"{self.head_file} cannot be read: {err}") from err

    def _write_head(self) -> str:
        rows = self._ledger.journal_rows()
        head = str(rows[-1].hash) if rows else GENESIS
        if head == self._read_head():
            return head
        self.head_file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.head_file.with_suffix(f".{os.getpid()}.tmp")
        try:
            with beside.open("w", encoding="ascii") as file:
                file.write(head + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.head_file)
        except OSError as err:
            raise LedgerError(f"{self.head_file} cannot be written: {err}", "free space, or fix its owner") from err
        return head

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One move at a time: a move that is under way looks like one that was interrupted."""
        self._lock_file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock_file), self._ledger.exclusively("journal"):
            yield


def _moment(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):  # year 1 or 9999, less or more the hours of a zone
        return f"a time outside the calendar ({at:.0f} s since 1970)"


_OF_THE_LINK = {"sequence", "at", "state", "previous", "hash"}
_EVENTS = {"promote": "promoted", "rollback": "rolled-back"}
