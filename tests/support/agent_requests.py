"""Requests for tests that ask real runners: the same models and batches in every mode, but for what a test changes."""

from typing import Any, get_args

from edgeprune.devices.protocol import Request

__all__ = ["asked"]

_FIELDS: dict[str, Any] = {
    "provider": "CPUExecutionProvider",
    "sessions": {name: {"threads": 1, "level": "all", "arena": True, "config": {}} for name in ("dense", "final")},
    "batches": dict.fromkeys(("dense", "final"), [{"input_ids": [[1, 2]]}] * 3),
    "warmup": 1,
    "block": 2,
    "parallel": 2,
    "seconds": 0.1,
}


def asked(mode: str = "latency", **changes: Any) -> Request:
    """Make a request of a mode; what the mode has no field for is left out."""
    model = next(one for one in get_args(Request) if one.model_fields["mode"].default == mode)
    fields = {name: value for name, value in (_FIELDS | changes).items() if name in model.model_fields}
    found: Request = model.model_validate(fields)
    return found
