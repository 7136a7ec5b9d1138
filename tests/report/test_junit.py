from pathlib import Path

from junitparser import Error, Failure, JUnitXml, TestSuite

from edgeprune.report.junit import junit, junit_of_error
from tests.support.reports import budget, report

HOSTILE = 'a<b>&"]]>\x00\x1b[31m\ud800\n'


def read(text: str, folder: Path) -> list[TestSuite]:
    path = folder / "junit.xml"
    path.write_text(text, encoding="utf-8")
    return list(JUnitXml.fromfile(str(path)))


def test_every_budget_is_a_case_with_its_verdict(tmp_path: Path) -> None:
    rows = [
        budget("size_mb", "pass", 11.25),
        budget("latency_p90_ms", "fail", 26.0).model_copy(update={"interval": (25.2, 27.3)}),
        budget("latency_p50_ms", "inconclusive", 24.9),
        budget("cold_start_ms", "not_measured", None),
    ]
    (suite,) = read(junit([report(budget=rows)]), tmp_path)
    assert suite.name == "reviews 1.4.0 for cpu-x86-avx2"
    assert (suite.tests, suite.failures, suite.errors) == (4, 1, 2)
    cases = {case.name: case for case in suite}
    assert [*cases] == [row.name for row in rows]
    assert {case.classname for case in suite} == {"reviews for cpu-x86-avx2"}
    assert (cases["size_mb"].is_passed, cases["size_mb"].system_out) == (True, "size_mb: 11.25 MB, limit 25 MB")
    (failure,) = cases["latency_p90_ms"].result
    assert isinstance(failure, Failure)
    assert failure.message == "latency_p90_ms is 26 ms, but the budget of cpu-x86-avx2 is 25 ms"
    assert cases["latency_p90_ms"].system_out == "latency_p90_ms: 26 ms [25.2, 27.3], limit 25 ms"
    for name, kind in (("latency_p50_ms", "inconclusive"), ("cold_start_ms", "not_measured")):
        (error,) = cases[name].result
        assert isinstance(error, Error)
        assert (error.type, error.message.startswith(name)) == (kind, True)
    assert {one.name: one.value for one in suite.properties()}["verdict"] == "fail"


def test_several_builds_are_several_suites_and_a_build_without_budgets_is_an_empty_one(tmp_path: Path) -> None:
    first, second = read(junit([report(), report(target="web", budget=[])]), tmp_path)
    assert (first.tests, second.tests, second.name) == (2, 0, "reviews 1.4.0 for web")


def test_names_can_be_any_text(tmp_path: Path) -> None:
    (suite,) = read(junit([report(budget=[budget(f"min_recall.{HOSTILE}", "fail", 0.1)])]), tmp_path)
    (case,) = suite
    assert case.name == 'min_recall.a<b>&"]]>\\x00\\x1b[31m\\ud800\\n'
    (failure,) = case.result
    assert failure.message.startswith('min_recall.a<b>&"]]>')


def test_a_build_that_ended_is_an_error_with_its_sentence(tmp_path: Path) -> None:
    (suite,) = read(junit_of_error(f"there is no data file {HOSTILE}"), tmp_path)
    ((case,), (error,)) = (list(suite), next(iter(suite)).result)
    assert (suite.errors, case.name, isinstance(error, Error)) == (1, "build", True)
    assert error.message.startswith('there is no data file a<b>&"]]>')
