"""Where data versions are pushed to: a folder, S3 or SSH; what each needs, and what may be said of it.

Credentials are what AWS' and SSH's own clients find (environment, `~/.aws`, `~/.ssh`, an agent): nothing of them is
written to DVC's configuration, and none is repeated in an error.
"""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from components.errors import DataStoreError
from components.settings import Settings

_NEEDS = {"s3": ("dvc_s3", "s3"), "ssh": ("dvc_ssh", "ssh")}
"""Scheme → the module that speaks it, and the extra that brings it."""
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_REMEDIES = {
    "s3": "check the bucket, AWS_ENDPOINT_URL and the keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or a profile)",
    "ssh": "check that `ssh` itself gets there without asking: host key, user, key or agent; and the folder's rights",
}


@dataclass(frozen=True)
class Remote:
    """A DVC remote; `folder` where it is one on this machine."""

    url: str
    folder: Path | None

    @property
    def scheme(self) -> str:
        return "" if self.folder is not None else urlsplit(self.url).scheme

    @property
    def remedy(self) -> str:
        return _REMEDIES.get(self.scheme, f"look at the remote {self.url}")


def remote_of(settings: Settings) -> Remote:
    """The remote of an installation: a folder in its workspace unless `BANYAN_DATA_REMOTE` says otherwise.

    Raises:
        DataStoreError: the address holds a password, or what speaks its protocol is not installed.
    """
    given = settings.data_remote or str(settings.workspace.remote)
    if "://" not in given:
        folder = Path(given).expanduser().absolute()
        return Remote(str(folder), folder)
    parts = urlsplit(given)
    if parts.password is not None:  # it would stand in DVC's configuration, and in every error
        raise DataStoreError(
            f"the data remote's address ({parts.scheme}://…) holds a password",
            "leave it out: S3's keys come from the environment, SSH's from ~/.ssh or an agent",
        )
    module, extra = _NEEDS.get(parts.scheme, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise DataStoreError(
            f"a data remote at {parts.scheme}:// needs the package {module.replace('_', '-')}",
            f"pip install 'banyan-llm[{extra}]'",
        )
    return Remote(given, None)


def without_secrets(text: str) -> str:
    """`text` without any credential of this process' environment."""
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, "…")
    return re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:…@", text)


def failures() -> tuple[type[Exception], ...]:
    """What DVC and the clients below it raise when a remote does not do as asked."""
    from dvc.exceptions import DvcException

    found: list[type[Exception]] = [DvcException, OSError]
    if importlib.util.find_spec("botocore") is not None:
        from botocore.exceptions import BotoCoreError, ClientError

        found += [BotoCoreError, ClientError]
    if importlib.util.find_spec("asyncssh") is not None:
        from asyncssh import Error

        found.append(Error)
    return tuple(found)
