import json
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from edgeprune.base.events import Event, EventLog, Note, Progress, StageFinished, StageStarted, StageWaiting, ignore

EVENTS = [
    StageStarted("prune", 1, "abc"),
    StageWaiting("prune", 1, "abc"),
    Progress("prune", 1, 3, 10, "batches"),
    Note("größer als gedacht", level="info"),
    StageFinished("prune", 1, "abc", cached=False, duration_s=1.5),
]


def test_the_log_keeps_every_event_as_a_json_line_and_passes_it_on(tmp_path: Path):
    passed: list[Event] = []
    log = EventLog(tmp_path / "events.jsonl", passed.append)
    before = time.time()
    for event in EVENTS:
        log(event)
    records = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert passed == EVENTS
    assert [record["event"] for record in records] == [type(event).__name__ for event in EVENTS]
    assert all(before - 0.01 <= record.pop("time_s") <= time.time() + 0.01 for record in records)
    assert records[2] == {
        "event": "Progress",
        "stage": "prune",
        "round": 1,
        "done": 3,
        "total": 10,
        "unit": "batches",
    }
    assert records[3] == {"event": "Note", "message": "größer als gedacht", "level": "info"}


def test_a_second_log_appends_to_the_first(tmp_path: Path):
    for message in ("one", "two"):
        EventLog(tmp_path / "events.jsonl", ignore)(Note(message))
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["one", "two"]


def test_a_line_is_on_disk_before_the_event_is_passed_on(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    seen: list[int] = []
    log = EventLog(path, lambda _: seen.append(len(path.read_text(encoding="utf-8").splitlines())))
    log(Note("one"))
    log(Note("two"))
    assert seen == [1, 2]


def test_events_are_immutable():
    with pytest.raises(FrozenInstanceError):
        EVENTS[0].stage = "other"  # type: ignore[attr-defined]
