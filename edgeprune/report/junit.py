"""Write builds as JUnit XML, which CI systems show as tests: a suite for each build, a case for each budget.

<testsuites name="edgeprune">
  <testsuite name="reviews 1.4.0 for cpu-x86-avx2" tests="2" failures="1" errors="0" …>
    <testcase classname="reviews for cpu-x86-avx2" name="latency_p90_ms">
      <failure type="fail" message="latency_p90_ms is 26 ms, but the budget of cpu-x86-avx2 is 25 ms"/>

A missed budget is a failure. A budget that can't be judged is an error, because the build's exit code isn't 0 either. The names
of cases have no release, so that CI systems find a case again in the next build.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from edgeprune.base.markdown import printable
from edgeprune.benchmark.verdicts import BudgetRow, Verdict
from edgeprune.report.headline import headline
from edgeprune.report.misses import misses
from edgeprune.report.records import BuildReport
from edgeprune.report.words import budget_words, span

__all__ = ["junit", "junit_of_error"]

_ELEMENTS: dict[Verdict, str] = {"fail": "failure", "inconclusive": "error", "not_measured": "error"}


def junit(reports: Sequence[BuildReport]) -> str:
    """Write a suite for each build, with a case for each of its budgets."""
    return _document([_suite(report) for report in reports])


def junit_of_error(sentence: str) -> str:
    """Write one case for a build that ended without a report, and why it did."""
    case = _element("testcase", classname="edgeprune", name="build")
    case.append(_element("error", type="error", message=sentence))
    return _document([_counted(_element("testsuite", name="edgeprune build"), [case])])


def _suite(report: BuildReport) -> ET.Element:
    made_s = sum(stage.duration_s for stage in report.stages if not stage.cached)
    suite = _element("testsuite", name=f"{report.name} {report.release} for {report.target}", time=f"{made_s:.3f}")
    properties = ET.SubElement(suite, "properties")
    facts = {
        "headline": headline(report),
        "verdict": report.verdict,
        "exit_code": str(report.exit_code),
        "package": report.package.path,
        "sha256": report.package.sha256,
    }
    properties.extend(_element("property", name=name, value=value) for name, value in facts.items())
    return _counted(suite, [_case(report, row) for row in report.budget])


def _case(report: BuildReport, row: BudgetRow) -> ET.Element:
    case = _element("testcase", classname=f"{report.name} for {report.target}", name=row.name)
    if row.verdict in _ELEMENTS:
        (sentence,) = misses([row], report.target)
        case.append(_element(_ELEMENTS[row.verdict], type=row.verdict, message=sentence))
    if row.value is not None:
        words = f"{row.name}: {budget_words(row.name, row.value)} {span(row.interval)}".rstrip()
        ET.SubElement(case, "system-out").text = printable(f"{words}, limit {budget_words(row.name, row.limit, 6)}")
    return case


def _counted(suite: ET.Element, cases: Sequence[ET.Element]) -> ET.Element:
    """Add cases to a suite, and how many there are of each kind."""
    suite.extend(cases)
    counts = {"failures": "failure", "errors": "error"}
    suite.set("tests", str(len(cases)))
    for name, tag in counts.items():
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    return suite


def _element(tag: str, **attributes: str) -> ET.Element:
    """Make an element. XML has no place for characters that print nothing, so that their codes stand there."""
    return ET.Element(tag, {name: printable(value) for name, value in attributes.items()})


def _document(suites: Sequence[ET.Element]) -> str:
    root = ET.Element("testsuites", name="edgeprune")
    root.extend(suites)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
