"""A process that moves an alias and dies by SIGKILL at a given point of the move.

Run as `python journal_mover.py <mlflow url> <model> <version> <before|after|head>`.
"""

import os
import signal
import sys

from components.ledger.journal import Journal
from components.ledger.store import Ledger
from components.registry import Registry
from components.settings import load_settings

url, name, version, point = sys.argv[1:]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingRegistry(Registry):
    def set_alias(self, ref, alias="champion"):
        if point == "before":
            die()
        super().set_alias(ref, alias)
        if point == "after":
            die()


class DyingJournal(Journal):
    def _write_head(self):
        if point == "head" and self._ledger.journal():
            die()
        super()._write_head()


settings = load_settings()
registry = DyingRegistry(url)
journal = DyingJournal(Ledger(settings), settings.workspace)
journal.move(registry, registry.ref(name, int(version)), actor="gate", evidence={"verdict": "promote"})
