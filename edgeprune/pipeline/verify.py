"""Check that a package is unchanged since it was made, and that it computes the same on this machine.

Digests are checked first, then the signature if there is a key to check it against, then the goldens. Digests find
accidents: whoever changes a package can write new digests. A signature finds attackers. On the instruction set and the onnxruntime that made the goldens, outputs
must be equal to the last bit. Elsewhere they must lie within the tolerance of the package's precision, with the same
answers.
"""

from pathlib import Path
from typing import Any, Literal

from edgeprune.base.errors import ParityError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.ondevice.agent import device_info
from edgeprune.release.keys import Key
from edgeprune.release.signing import check_signature, find_signature
from edgeprune.store.package import check_digests, description, goldens, opened, usable
from edgeprune.tasks.registry import ondevice_modules

__all__ = ["Verification", "verify"]


class Verification(Frozen):
    """Report what was checked, as the document that `verify --json` prints."""

    package: str
    files: int
    signature: Literal["verified", "not checked", "none"]
    """Not checked: there is one, but no key to check it against."""
    signed_by: str | None
    """Who signed the package; None: that was not verified."""
    goldens: int
    exact: bool
    """Whether the goldens were compared bit by bit."""
    max_error: float
    """Largest difference from a golden's outputs, relative to max(1, the golden's largest output)."""


def verify(path: Path, *, key: Key | None = None) -> Verification:
    """Check a package: its folder or its .tar.gz.

    Args:
        path: The package.
        key: What its signature is checked against; None: it isn't checked.

    Raises:
        UsageError: There is no package at `path`, or the key can't be used.
        IntegrityError: A file is missing, was added or changed, packages have no such file, or it can't be used. Or the
            package is not signed by the key.
        ParityError: A golden's outputs are not what they were when the package was made.
    """
    with opened(path) as folder:
        return _verify_folder(folder, find_signature(path, folder), key, str(path))


def _verify_folder(folder: Path, signature: Path | None, key: Key | None, shown: str) -> Verification:
    files = check_digests(folder, shown)
    signed_by = None if key is None else check_signature(folder, signature, key, shown=shown)
    unchecked: Literal["not checked", "none"] = "none" if signature is None else "not checked"
    record, config = goldens(folder), description(folder)
    from edgeprune.ondevice.run import Model

    with usable(shown):
        preprocess, postprocess = ondevice_modules(config["task"])
        model = Model(
            folder, threads=1, provider="CPUExecutionProvider", preprocess=preprocess, postprocess=postprocess
        )
    exact = _same_place(record)
    worst = max(_error(model, golden, record, exact=exact, shown=shown) for golden in record["goldens"])
    return Verification(
        package=shown,
        files=files,
        signature=unchecked if signed_by is None else "verified",
        signed_by=signed_by,
        goldens=len(record["goldens"]),
        exact=exact,
        max_error=worst,
    )


def _same_place(record: dict[str, Any]) -> bool:
    import onnxruntime

    device = device_info()
    return (record["arch"], record["isa"], record["onnxruntime"]) == (
        device["arch"],
        device["isa"],
        onnxruntime.__version__,
    )


def _error(model: Any, golden: dict[str, Any], record: dict[str, Any], *, exact: bool, shown: str) -> float:
    with usable(shown):
        same, equal, error = model.replay(golden)
        name = model.preprocess.shown(model.golden_content(golden))
    if exact and not equal:
        raise ParityError(
            f"{shown}: the outputs for {name} differ by {error:.2e}; on this instruction set they should be equal"
        )
    if not error <= record["tolerance"] or not same:
        raise ParityError(
            f"{shown}: the outputs for {name} differ by {error:.2e} (allowed here: {record['tolerance']:.0e}, with the same answer)"
        )
    return float(error)
