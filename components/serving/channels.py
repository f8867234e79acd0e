"""Channels that only operators' programs may name: those for which screening counts no bursts or shares.

Screening reads its policy anew at each retraining, so the gateway follows the file: a channel that is declared while
it runs is guarded from the next request on.
"""

import logging
from pathlib import Path

from components.errors import RecipeError
from components.feedback.screening_file import screening_file, screening_policy
from components.settings import Workspace

log = logging.getLogger("banyan.gateway")


class GuardedChannels:
    """The declared and the import channels of the installation's screening policy."""

    def __init__(self, workspace: Workspace, *, default: Path | None = None) -> None:
        """`default`: the policy that holds where the workspace has none of its own.

        Raises:
            RecipeError: the policy does not read.
        """
        self._workspace, self._default = workspace, default
        self._seen = self._stamp()
        self._names = self._read()

    def __contains__(self, channel: str) -> bool:
        now = self._stamp()
        if now != self._seen:
            self._seen = now
            try:
                self._names = self._read()
            except RecipeError as err:  # half-written, or a typo: what it said before is guarded on
                log.error("%s", err)
        return channel in self._names

    def _read(self) -> frozenset[str]:
        policy = screening_policy(self._workspace, default=self._default)
        return frozenset({*policy.declared_channels, *policy.import_channels})

    def _stamp(self) -> tuple[str, int, int]:
        path = screening_file(self._workspace, default=self._default)
        try:
            stat = path.stat() if path else None
        except OSError:  # gone between the two
            stat = None
        return (str(path), stat.st_mtime_ns, stat.st_size) if stat else (str(path), 0, 0)
