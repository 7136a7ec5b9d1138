"""Say in words on which device and under which conditions times were measured."""

from edgeprune.benchmark.records import ConditionsRow, LatencyRow
from edgeprune.report.records import BuildReport
from edgeprune.report.words import amount

__all__ = ["conditions_words", "device_words", "workload_words"]

_SHOWN_FEATURES = 10
"""As many as an x86 core with AMX has: what its int8 products are computed with comes last."""


def device_words(report: BuildReport) -> str:
    """Describe the device in a sentence, or say that none was measured."""
    device = report.device
    if device is None:
        return f"No time was measured on {report.target}."
    cores = "" if device.cores is None else f", {device.cores} {'core' if device.cores == 1 else 'cores'}"
    isa = f", {', '.join(device.isa[:_SHOWN_FEATURES])}" if device.isa else ""
    more = ", …" if len(device.isa) > _SHOWN_FEATURES else ""
    runs = [] if device.onnxruntime is None else [f"ONNX Runtime {device.onnxruntime}"]
    runs += [] if device.python is None else [f"Python {device.python}"]
    with_ = f" with {' and '.join(runs)}" if runs else ""
    return f"Measured on {device.cpu or report.target} ({device.arch}{cores}{isa}{more}) under {device.system}{with_}."


def workload_words(row: LatencyRow) -> str:
    """Describe in a sentence what was run and how often."""
    lengths = {"data": "the test rows' own lengths", "inputs": "the inputs' own lengths"}.get(
        row.lengths, f"{row.lengths} tokens each"
    )
    threads = f"{row.threads} {'thread' if row.threads == 1 else 'threads'}"
    processes = "a fresh process" if row.processes == 1 else f"{row.processes} fresh processes"
    return (
        f"{row.provider}, {threads}, batches of {row.batch_size}, {lengths}. Models took turns, {row.samples:,} runs each, "
        f"in {processes}."
    )


def conditions_words(report: BuildReport) -> str:
    """Describe the conditions in a sentence; empty if the device told none."""
    device = report.device
    if device is None or device.before is None:
        return ""
    before, after = device.before, device.after or device.before
    facts = [_same(f"governor {before.governor}", f"governor {after.governor}") if before.governor else None]
    facts += [
        _told(f"{what}: {{}}{unit}", getattr(before, name), getattr(after, name))
        for name, what, unit in (
            ("frequency_mhz", "clock", " MHz"),
            ("temperature_c", "temperature", " °C"),
            ("load_1min", "load", ""),
        )
    ]
    facts.append(_throttled(before, after))
    facts.append(None if before.quota_cores is None else f"limited to {amount(before.quota_cores)} cores")
    told = [fact for fact in facts if fact]
    return f"Conditions, before and after: {'; '.join(told)}." if told else ""


def _told(words: str, before: float | None, after: float | None) -> str | None:
    if before is None or after is None:
        return None
    return words.format(_same(amount(before), amount(after)))


def _same(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _throttled(before: ConditionsRow, after: ConditionsRow) -> str | None:
    if before.throttle_events is None or after.throttle_events is None:
        return None
    count = after.throttle_events - before.throttle_events
    return "never throttled meanwhile" if count == 0 else f"throttled {count} times meanwhile"
