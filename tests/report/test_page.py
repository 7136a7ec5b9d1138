import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import Variant
from edgeprune.report.page import MeasuredBuild, render_page
from edgeprune.report.records import BuildReport
from tests.support.reports import frontier, full_report, latency, narrowed_frontier, report, samples_of

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)> $x_1$ {{ 7 * 7 }} --> \"' & ü 日本 #010101"
LARGEST_BYTES = 1_000_000


class Page(HTMLParser):
    """What a page's tags are, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def page_of(*made: BuildReport) -> str:
    return render_page([MeasuredBuild(one, samples_of(one)) for one in made])


def hostile(made: BuildReport) -> BuildReport:
    """The report with a hostile text wherever a text stands that isn't one of a few words."""

    def spoilt(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: spoilt(one, name) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [spoilt(one, key) for one in value]
        if isinstance(value, str) and key in TEXTS:
            return HOSTILE
        return value

    return BuildReport.model_validate(spoilt(made.model_dump(mode="json")))


TEXTS = (
    *(
        "release",
        "target",
        "pipeline",
        "task",
        "path",
        "archive",
        "try_with",
        "cpu",
        "arch",
        "system",
        "governor",
        "isa",
    ),
    *(
        "variant",
        "why",
        "notes",
        "reason",
        "faster",
        "more_accurate",
        "text",
        "label",
        "answer",
        "key",
        "provider",
        "lengths",
    ),
)


@pytest.mark.parametrize(
    "builds", [[full_report()], [full_report(), report(target="web"), full_report(target="pi")]], ids=len
)
def test_a_page_is_small_stands_alone_and_is_the_same_each_time(builds: list[BuildReport]) -> None:
    page = page_of(*builds)
    assert len(page.encode()) < LARGEST_BYTES
    assert page_of(*builds) == page
    tags = Page(page).tags
    fetched = [
        value for _, attributes in tags for name, value in attributes.items() if name in {"src", "srcset", "href"}
    ]
    assert all((value or "").startswith("#") for value in fetched)
    assert not {"script", "link", "img", "iframe", "object", "foreignobject"} & {tag for tag, _ in tags}
    assert not re.search(r"https?:|url\((?!#)|@import", page)
    references = {attributes["href"] for tag, attributes in tags if tag == "use"}
    references |= set(re.findall(r"url\((#[^)]*)\)", page))
    ids = [f"#{attributes['id']}" for _, attributes in tags if "id" in attributes]
    assert references <= set(ids)
    assert len(set(ids)) == len(ids), "pictures share no names"


@pytest.mark.parametrize("several", [False, True])
def test_what_users_wrote_is_shown_and_does_nothing(several: bool) -> None:
    made = hostile(full_report(frontier=None if several else frontier()))
    page = page_of(made, made) if several else page_of(made)
    found = Page(page)
    assert not {"script", "img"} & {tag for tag, _ in found.tags}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert "<script" not in page
    assert "$x_1$ {{ 7 * 7 }} -->" in found.text
    assert found.text.count("<script>alert(1)</script>") > 10


def test_colours_are_the_style_sheets_so_that_pictures_are_read_on_dark_pages() -> None:
    page = page_of(full_report())
    pictures = "".join(re.findall(r'<svg class="plot".*?</svg>', page, re.DOTALL))
    assert "prefers-color-scheme: dark" in page
    assert re.findall(r"var\(--(\w+)\)", pictures)
    assert not re.search(r"#[0-9a-f]{6}", pictures), "a colour of its own would be lost on one of the two"
    used, defined = (set(re.findall(pattern, page)) for pattern in (r"var\(--(\w+)\)", r"--(\w+): #"))
    assert used <= defined


def test_a_page_about_a_build_has_everything_that_was_found() -> None:
    page = page_of(full_report())
    text = " ".join(Page(page).text.split())
    for words in (
        "6.7 times as fast (8.3 → 1.24 ms),",
        "Measured on Some CPU (x86_64, 2 cores, avx2, avx512f) under Linux with ONNX Runtime 1.31.1 and Python 3.11.2.",
        "governor performance; clock: 2,450 MHz; load: 0.2 → 1.1; never throttled meanwhile.",
        "4x is the fastest rung whose drop is within 1 point",
        "6x takes 0.48 ms",
        "latency_p90_ms 2 ms 2.48 ms [1.9, 2.3] ✗ fail",
        "dropped",
        "1024 of 1536",
        "attention and norms 3.55 M 1.20 M",
        "left out after round 1: 174.0% slower than int8-dynamic",
        "A film to remember, if only one could.",
        "neg is right, and the dense model says so (98.1% sure). The package says pos (71.3% sure).",
        "python dist/reviews-1.4.0-cpu-x86-avx2/run.py 'A text.'",
        "edgeprune verify dist/reviews-1.4.0-cpu-x86-avx2",
        "ab" * 32,
        "budget p90: 2 ms",
    ):
        assert words in text, words
    assert text.index("pos 88.0% 85.4% -2.6 points") < text.index("neg 84.0% 85.0% +1.0 points"), "most lost first"
    heads = re.findall(r'aria-label="(\d+) of 12 heads"', page)
    assert heads == ["2", "0", "1", "0", "5", "12"], "the lowest layer is at the bottom"
    assert page.count('class="kept"') == 20


def test_a_smaller_hidden_size_is_told() -> None:
    words = "Hidden states have 256 of 384 dimensions."
    assert words in " ".join(page_of(full_report(hidden_size=256, dense_hidden_size=384)).split())
    assert "Hidden states have" not in page_of(full_report(hidden_size=384, dense_hidden_size=384))


def test_a_factored_embedding_is_told() -> None:
    words = "The token embedding is factored, with rank 128."
    assert words in " ".join(page_of(full_report(embedding_rank=128)).split())
    assert words not in page_of(full_report())


def test_an_old_report_and_one_without_times_have_a_page_too() -> None:
    for made in (report(), report(latency=[], device=None, budget=[], linear=None)):
        page = render_page([MeasuredBuild(made)])
        assert "What is left of the model" in page
        assert "What the search found" not in page
    assert "No time was measured on cpu-x86-avx2." in page
    assert "The profile cpu-x86-avx2 sets no budget." in page


def test_without_samples_the_page_says_so_and_draws_percentiles() -> None:
    drawn, plain = page_of(full_report()), render_page([MeasuredBuild(full_report())])
    assert "samples don’t lie beside the build.json" in plain
    assert "samples don’t lie beside the build.json" not in drawn
    assert "Times of runs: Dense, fp32 8.3 ms at p50" in plain
    assert len(plain) < len(drawn)


def test_a_search_that_measured_nothing_is_drawn_by_what_it_counted() -> None:
    page = page_of(full_report(frontier=frontier(dense_ms=None), latency=[], device=None))
    assert "multiply-adds asked for, dense is 1" in page
    by_size = page_of(full_report(frontier=frontier(objective="size", unit="bytes")))
    assert "size of the package, MB" in by_size


def test_hidden_sizes_of_a_search_are_shown_where_they_differ() -> None:
    page = page_of(full_report(frontier=narrowed_frontier()))
    assert page.count('<th class="number">hidden size</th>') == 1
    assert (page.count('<td class="number">384</td>'), page.count('<td class="number">256</td>')) == (4, 4)
    assert '<td colspan="12">' in page
    assert "hidden size</th>" not in page_of(full_report(frontier=frontier()))


def test_builds_are_drawn_on_the_same_axes() -> None:
    slow = full_report(
        target="pi",
        frontier=frontier(dense_ms=20.0, shipped="8x"),
        latency=[latency("dense-fp32", 90.0), latency("final", 3.1)],
    )
    unmeasured = report(target="web", latency=[], device=None)
    page = page_of(full_report(), slow, unmeasured)
    assert re.findall(r'aria-label="([^"]*)"', page) == [
        "Median times of the packages: cpu-x86-avx2 1.24 ms; pi 3.1 ms",
        "Change of accuracy: cpu-x86-avx2 -0.8 points; pi -0.8 points; web -1.5 points",
        "Sizes of the packages: cpu-x86-avx2 18.2 MB; pi 18.2 MB; web 11.2 MB",
        "What each model&#x27;s time costs of the metric, by device: cpu-x86-avx2 ships 4x; pi ships 8x",
    ]
    assert "not measured" in page
    text = " ".join(Page(page).text.split())
    assert "latency_p90_ms 2.48 of 2 ms ✗ fail 2.48 of 2 ms ✗ fail 26 of 25 ms ✗ fail" in text
    no_searches = page_of(report(), report(target="web"))
    assert "What each device’s time costs" not in no_searches


def test_a_variants_precision_names_the_graphs() -> None:
    variant = Variant(rewrites=(), precision=PrecisionSettings(mode="int8-dynamic"))
    assert "Package, int8-dynamic" in page_of(full_report(variant=variant))


def test_what_draws_is_imported_only_when_a_page_is_written() -> None:
    code = (
        "import sys, edgeprune.report.files, edgeprune.report.page, edgeprune.pipeline.build\n"
        "print([name for name in ('matplotlib', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
