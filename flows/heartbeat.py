"""Whether the stack's worker still reports to Prefect, which it does every 30 s while its loop goes round."""

import http.client
import json
import time
import urllib.request
from typing import Any

from components import prefect_key

SILENT_SECONDS = 90.0
"""Three heartbeats."""


class Heartbeat:
    """Asked again and again; remembers when it last saw a new heartbeat, by the clock that only counts."""

    def __init__(self, prefect_url: str, *, pool: str, worker: str, silent_seconds: float = SILENT_SECONDS) -> None:
        self._url = f"{prefect_url.rstrip('/')}/api/work_pools/{pool}/workers/filter"
        self._worker, self._silent_seconds = worker, silent_seconds
        self._last = ""
        self._seen_at = 0.0
        self._num_seen = 0

    def is_heard(self) -> bool:
        """False where it has fallen silent. True while nobody can tell: Prefect is away, or it never reported yet."""
        last = self._ask()
        if last and last != self._last:
            self._last, self._seen_at = last, time.monotonic()
            self._num_seen += 1
        is_new = self._num_seen < 2  # the first may be of the day before
        return not last or is_new or time.monotonic() - self._seen_at < self._silent_seconds

    def _ask(self) -> str:
        headers = {"Content-Type": "application/json", **prefect_key.headers()}
        asked = urllib.request.Request(self._url, data=b"{}", headers=headers)  # noqa: S310
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(asked, timeout=5.0) as answer:
                workers: list[dict[str, Any]] = json.load(answer)
        except (OSError, ValueError, http.client.HTTPException):
            return ""
        return next((str(one.get("last_heartbeat_time") or "") for one in workers if one["name"] == self._worker), "")
