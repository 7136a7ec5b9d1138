"""Define every error that edgeprune raises on purpose, and the exit code that each one gives.

A message is one sentence or a short list: what was expected, what was got, what to do. The command line prints the
message as it is, without a traceback. Anything that is not an `EdgepruneError` is a fault of edgeprune itself (exit 1).

    EdgepruneError                  1
    ├── UnreachableBudgetError      3   a budget that no model can keep
    ├── UsageError                  2   flags, profiles, models, data
    │   ├── ProfileError            2   a pipeline or target YAML, all its errors at once
    │   ├── ModelError              2   a checkpoint that can't be used
    │   ├── DataError               2   texts, images or labels that can't be used
    │   └── SchemaVersionError      2   a file written by a newer edgeprune
    ├── IntegrityError              5   bytes are not what their digest says
    ├── ParityError                 5   two forms of one model disagree
    ├── TargetError                 6   the device can't be reached, or lacks the provider
    ├── PlaceError                  6   a registry or a hub can't be reached, or fails
    └── StorageError                8   out of space, not writable, not readable, or the disk fails
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

__all__ = [
    "EXIT_PRECEDENCE",
    "DataError",
    "EdgepruneError",
    "IntegrityError",
    "ModelError",
    "ParityError",
    "PlaceError",
    "ProfileError",
    "SchemaVersionError",
    "StorageError",
    "TargetError",
    "UnreachableBudgetError",
    "UsageError",
    "first_exit_code",
    "storage_error",
    "storage_errors",
]

EXIT_PRECEDENCE = (130, 1, 2, 8, 6, 5, 4, 3, 7)
"""When several exit codes apply, the first of these wins."""


class EdgepruneError(Exception):
    """Serve as the base of all errors. It is raised itself only where no other error fits."""

    exit_code: ClassVar[int] = 1


class UnreachableBudgetError(EdgepruneError):
    """Report a budget below the least that a model can cost.

    Args:
        budget: The budget.
        least: The least that can be reached.
        unit: The unit of both.
        name: The budget's name in the profile, for the message.
    """

    exit_code = 3

    def __init__(self, budget: float, *, least: float, unit: str, name: str = "a budget") -> None:
        super().__init__(
            f"{name} of {budget:,.4g} {unit} can't be reached: the least that this model can take here is {least:,.4g} "
            f"{unit}; raise the budget"
        )
        self.budget = budget
        self.least = least
        self.unit = unit


class UsageError(EdgepruneError):
    """Report a flag, a profile, a model or data that can't be used as given."""

    exit_code = 2


class ProfileError(UsageError):
    """Report a pipeline or target definition that is not valid."""


class ModelError(UsageError):
    """Report a checkpoint that is missing, damaged, or of a kind that edgeprune doesn't handle."""


class DataError(UsageError):
    """Report a data file that is missing, malformed, or doesn't fit the model's task."""


class SchemaVersionError(UsageError):
    """Report a file whose schema_version this edgeprune doesn't know."""


class IntegrityError(EdgepruneError):
    """Report bytes on disk that don't have the digest recorded for them."""

    exit_code = 5


class ParityError(EdgepruneError):
    """Report that two forms of one model (PyTorch and ONNX, say) disagree beyond the tolerance."""

    exit_code = 5


class TargetError(EdgepruneError):
    """Report that the target can't be reached, or lacks the execution provider asked for."""

    exit_code = 6


class PlaceError(EdgepruneError):
    """Report that a place of packages or of runs (a registry, a hub, MLflow) can't be reached or fails."""

    exit_code = 6


class StorageError(EdgepruneError):
    """Report a file that could not be written or read, for example because no space is left or the disk fails."""

    exit_code = 8


def first_exit_code(codes: set[int]) -> int:
    """Return the exit code that wins among `codes`: 1 for one that edgeprune doesn't have, 0 if none is an error's."""
    return next((code for code in EXIT_PRECEDENCE if code in codes), 1 if codes - {0} else 0)


_ELSEWHERE = "choose another place with --store and --output"
_NO_SPACE = f"free some space there, or {_ELSEWHERE}"
_IN_THE_WAY = f"move it away, or {_ELSEWHERE}"
_RIGHTS = f"give this user the right to it, or {_ELSEWHERE}"
_TROUBLE = f"check that disk or network folder, or {_ELSEWHERE}"
_HANDLES = "close other programs, or raise the limit (ulimit -n)"
_STORAGE_ERRNOS = {
    errno.ENOSPC: ("no space left", _NO_SPACE),
    errno.EDQUOT: ("the quota is used up", _NO_SPACE),
    errno.EFBIG: ("the file may not grow further", _NO_SPACE),
    errno.EACCES: ("no permission", _RIGHTS),
    errno.EPERM: ("no permission", _RIGHTS),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.ENOTDIR: ("a file stands where a folder is needed", _IN_THE_WAY),
    errno.EISDIR: ("a folder stands where a file is needed", _IN_THE_WAY),
    errno.EEXIST: ("something else stands there", _IN_THE_WAY),
    errno.ENOTEMPTY: ("a folder that isn't empty stands there", _IN_THE_WAY),
    errno.ELOOP: ("a link stands there that leads nowhere", _IN_THE_WAY),
    errno.ENAMETOOLONG: ("the name is too long", _ELSEWHERE),
    errno.EBUSY: ("another program uses it", _TROUBLE),
    errno.EIO: ("the device reports an input or output error", _TROUBLE),
    errno.ENXIO: ("the device is gone", _TROUBLE),
    errno.ENODEV: ("the device is gone", _TROUBLE),
    errno.ESTALE: ("the network folder has lost it", _TROUBLE),
    errno.ENOLCK: ("the file system gives no locks", _TROUBLE),
    errno.EMFILE: ("too many files are open", _HANDLES),
    errno.ENFILE: ("too many files are open", _HANDLES),
}
"""By errno, what is wrong with the storage, and what to do."""
_EITHER_WAY = (
    *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EBUSY),
    *(errno.ELOOP, errno.EISDIR, errno.EMFILE, errno.ENFILE),
)
"""A read fails with these as a write does."""
_OS_ERROR = re.compile(r"(?:os error |\[Errno )(\d+)")
_TORCH_WRITE_ERROR = re.compile(r"iostream error|PytorchStreamWriter|unexpected pos")


def storage_error(error: BaseException, where: object) -> StorageError | None:
    """Turn `error` into a `StorageError` if it, or an error that caused it, is a failed write or read; else return None.

    safetensors, tokenizers and shutil report a failed write as text (`… (os error 28)`), not as an OSError. torch.save
    says only that its stream failed.
    """
    seen: BaseException | None = error
    while seen is not None:
        number = seen.errno if isinstance(seen, OSError) else None
        if number is None and (match := _OS_ERROR.search(str(seen))):
            number = int(match.group(1))
        if number is None and _TORCH_WRITE_ERROR.search(str(seen)):
            return StorageError(
                f"could not write below {where}: there is most likely no space left; free some there, or choose another place "
                f"with --store"
            )
        if number in _STORAGE_ERRNOS:
            name = str(getattr(seen, "filename", None) or where)
            reason, remedy = _STORAGE_ERRNOS[number]
            return StorageError(f"could not {_attempt(number, name)} {name}: {reason}; {remedy}")
        seen = seen.__cause__ or seen.__context__
    return None


def _attempt(number: int, name: str) -> str:
    """Say what failed: an errno doesn't, but a file that is there and may not be read was to be read."""
    if number in _EITHER_WAY:
        return "read or write"
    denied = number in (errno.EACCES, errno.EPERM)
    return "read" if denied and Path(name).exists() and not os.access(name, os.R_OK) else "write"


@contextlib.contextmanager
def storage_errors(where: object) -> Iterator[None]:
    """Turn a write or a read that fails inside the block, in whatever library, into a StorageError."""
    try:
        yield
    except EdgepruneError:
        raise
    except Exception as error:
        found = storage_error(error, where)
        if found is None:
            raise
        raise found from error
