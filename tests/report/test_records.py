import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import SchemaVersionError, UsageError
from edgeprune.report.records import read_report
from tests.support.reports import report


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "build.json"
    path.write_text(json.dumps(json.loads(report().model_dump_json()) | changes), encoding="utf-8")
    return path


def test_a_report_is_read_as_it_was_written(tmp_path: Path):
    assert read_report(written(tmp_path)) == report()


@pytest.mark.parametrize(
    "changes",
    [{"exit_code": 99}, {"exit_code": -1}, {"exit_code": 0}, {"verdict": "pass"}, {"verdict": "pass", "exit_code": 0}, {"budget": []}],
)  # fmt: skip
def test_a_verdict_that_its_budget_rows_do_not_give_is_refused(tmp_path: Path, changes: dict[str, Any]):
    with pytest.raises(UsageError, match=r"but its budget rows say .* it was edited"):
        read_report(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"exit_code": NaN}', "1" * 5_000])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "build.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"is not a build\.json"):
        read_report(path)


def test_a_report_of_another_schema_is_refused(tmp_path: Path):
    with pytest.raises(SchemaVersionError, match="another schema_version"):
        read_report(written(tmp_path, schema_version=2))
