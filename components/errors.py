"""Every error that Banyan raises on purpose.

    BanyanError
    ├── UsageError              the caller asked for something that cannot be (exit code 2)
    │   ├── RecipeError         a recipe or a setting with a typo or an impossible value
    │   ├── InputFileError      a file that is missing, empty, unreadable or truncated
    │   │   └── SourceUnreachable (Transient)  an address or a database that does not answer
    │   └── MappingError        a column or a label that the file or the table does not have
    ├── AssetError              third-party text or weights
    │   ├── AssetHashMismatch
    │   └── IndexUnreachable    (Transient)
    ├── DataError               a data version
    │   ├── ValidationFailed    the data is bad; the last good version stands
    │   ├── CheckBroken         a check could not run; it says nothing about the data
    │   └── DataStoreError      DVC, its cache or its remote
    ├── TrainingError
    │   ├── NonFiniteLoss
    │   └── CheckpointError
    ├── RegistryError
    │   ├── RegistryUnavailable (Transient)
    │   └── VersionNotFound
    ├── LedgerError
    ├── NotPermitted            whoever asked has not the role for it
    ├── ServingError
    │   ├── NoChampion          nothing has passed the gate yet
    │   ├── ParityMismatch      what would serve a version does not say what its trainer said
    │   └── GatewayUnavailable  (Transient)
    ├── SandboxUnavailable      code that nobody has read cannot be isolated here, so it is not run
    └── StackError              the local processes
        ├── PortTaken
        ├── WorkspaceBusy
        ├── DiskFull            (Transient)
        └── ServiceDown         (Transient)

`Transient` errors may succeed when tried again; everything else is terminal. Retries in
`flows` look at nothing but this.
"""


class Transient:
    """Mix-in: the same call may succeed later."""


class BanyanError(Exception):
    """What failed, with which value; and, in `remedy`, what to do about it."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)  # both in args, so that pickling keeps both
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} — {self.remedy}" if self.remedy else self.message


class UsageError(BanyanError):
    exit_code = 2


class RecipeError(UsageError): ...


class InputFileError(UsageError): ...


class SourceUnreachable(InputFileError, Transient): ...


class MappingError(UsageError): ...


class AssetError(BanyanError): ...


class AssetHashMismatch(AssetError): ...


class IndexUnreachable(AssetError, Transient): ...


class DataError(BanyanError): ...


class ValidationFailed(DataError): ...


class CheckBroken(DataError): ...


class DataStoreError(DataError): ...


class TrainingError(BanyanError): ...


class NonFiniteLoss(TrainingError): ...


class CheckpointError(TrainingError): ...


class RegistryError(BanyanError): ...


class RegistryUnavailable(RegistryError, Transient): ...


class VersionNotFound(RegistryError): ...


class LedgerError(BanyanError): ...


class NotPermitted(BanyanError): ...


class ServingError(BanyanError): ...


class NoChampion(ServingError): ...


class ParityMismatch(ServingError): ...


class GatewayUnavailable(ServingError, Transient): ...


class SandboxUnavailable(BanyanError): ...


class StackError(BanyanError): ...


class PortTaken(StackError): ...


class WorkspaceBusy(StackError): ...


class DiskFull(StackError, Transient): ...


class ServiceDown(StackError, Transient): ...
