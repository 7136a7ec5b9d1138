"""Define every error that edgeprune raises on purpose, and the exit code that each one gives.

A message is one sentence or a short list: what was expected, what was got, what to do. The command line prints the
message as it is, without a traceback. Anything that is not an `EdgepruneError` is a fault of edgeprune itself (exit 1).

    EdgepruneError                  1
    ├── UsageError                  2   flags, profiles, models, data
    │   ├── ProfileError            2   a pipeline or target YAML, all its errors at once
    │   ├── ModelError              2   a checkpoint that can't be used
    │   ├── DataError               2   texts, images or labels that can't be used
    │   └── SchemaVersionError      2   a file written by a newer edgeprune
    ├── IntegrityError              5   bytes are not what their digest says
    ├── ParityError                 5   two forms of one model disagree
    ├── TargetError                 6   the device can't be reached, or lacks the provider
    └── StorageError                8   out of space, or not writable
"""

import contextlib
import errno
import re
from collections.abc import Iterator
from typing import ClassVar

__all__ = [
    "EXIT_PRECEDENCE",
    "DataError",
    "EdgepruneError",
    "IntegrityError",
    "ModelError",
    "ParityError",
    "ProfileError",
    "SchemaVersionError",
    "StorageError",
    "TargetError",
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


class StorageError(EdgepruneError):
    """Report a file that could not be written, for example because no space is left."""

    exit_code = 8


def first_exit_code(codes: set[int]) -> int:
    """Return the exit code that wins among `codes`; 0 if none of them is an error's."""
    return next((code for code in EXIT_PRECEDENCE if code in codes), 0)


_STORAGE_ERRNOS = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file may not grow further",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file stands where a folder is needed",
}
_OS_ERROR = re.compile(r"(?:os error |\[Errno )(\d+)")
_TORCH_WRITE_ERROR = re.compile(r"iostream error|PytorchStreamWriter|unexpected pos")


def storage_error(error: BaseException, where: object) -> StorageError | None:
    """Turn `error` into a `StorageError` if it, or an error that caused it, is a failed write; else return None.

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
                f"could not write below {where}: most likely no space is left; free some there, or choose another place "
                f"with --store"
            )
        if number in _STORAGE_ERRNOS:
            name = getattr(seen, "filename", None) or where
            return StorageError(
                f"could not write {name}: {_STORAGE_ERRNOS[number]}; free some space there, or choose another place "
                f"with --store and --output"
            )
        seen = seen.__cause__ or seen.__context__
    return None


@contextlib.contextmanager
def storage_errors(where: object) -> Iterator[None]:
    """Turn a write that fails inside the block, in whatever library, into a StorageError."""
    try:
        yield
    except EdgepruneError:
        raise
    except Exception as error:
        found = storage_error(error, where)
        if found is None:
            raise
        raise found from error
