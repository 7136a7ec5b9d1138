"""edgeprune/pipeline/stages/page.py and ondevice/browser/page: a page beside the package, used by a hand in a real Chromium."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer

import edgeprune
from edgeprune.base.errors import ParityError
from edgeprune.devices.chromium import Chromium, Page
from edgeprune.devices.page_server import PageServer
from edgeprune.ondevice import postprocess_classification, preprocess_text
from edgeprune.pipeline.stages.page import _require_same_answers
from edgeprune.store.package import description
from tests.support.e2e import Built, call

pytestmark = pytest.mark.usefixtures("node_modules")

ASKED = ["--set", "stages.package.page=true"]
TYPED = ["input_ids", "token_type_ids", "attention_mask"]
LONG = "the film was a bright and lovely story of a dull and boring actor with a good ending and a bad plot"

LICENCES = {
    "onnxruntime-web.LICENSE.txt": "Copyright (c) Microsoft Corporation\n\nPermission is hereby granted, free of charge",
    "onnxruntime-web.ThirdPartyNotices.txt": "protobuf",
    "huggingface-tokenizers.LICENSE.txt": "Apache License\n                           Version 2.0, January 2004",
}
"""The licences of a page's code, and what is written in each."""


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Built], Path]:
    """The page of the build, made once."""
    made: list[Path] = []

    def make(built: Built) -> Path:
        if not made:
            output = tmp_path_factory.mktemp("page")
            done = built.again(*ASKED, "--json", output=output)
            assert done.code == 0, done.err
            assert done.document["page"] == {
                "path": str(output / f"{built.package.name}.page"),
                "size_bytes": sum(path.stat().st_size for path in output.glob("*.page/*")),
            }
            assert "not tried" not in " ".join(done.document["notes"])
            made.append(output / f"{built.package.name}.page")
        return made[0]

    return make


@contextmanager
def opened(folder: Path, *, width: int = 1280) -> Iterator[tuple[Page, PageServer]]:
    """The page in a fresh browser, when its model is loaded."""
    with PageServer({path.name: path for path in folder.iterdir()}) as server, Chromium("chromium") as browser:
        page = browser.open("about:blank")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        page.send("Emulation.setDeviceMetricsOverride", **size)
        page.navigate(server.url)
        page.evaluate("ready.then(() => true)")
        yield page, server


def changed(folder: Path, place: Path, **changes: object) -> Path:
    """A copy of the page whose page.json says something else."""
    shutil.copytree(folder, place, dirs_exist_ok=True)
    said = json.loads((place / "page.json").read_text(encoding="utf-8"))
    (place / "page.json").write_text(json.dumps({**said, **changes}), encoding="utf-8")
    return place


def typed(folder: Path, place: Path, **changes: object) -> Path:
    """A copy of the page whose graph has token types as an input, and doesn't read them."""
    path = changed(folder, place, inputs=TYPED, **changes) / "model.onnx"
    model = onnx.load(path)
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("token_type_ids", onnx.TensorProto.INT64, ["batch", "sequence"])
    )
    onnx.save(model, path)
    return place


def click(page: Page, element: str) -> None:
    """Click in the middle of an element, as a mouse does."""
    middle = f"""(() => {{
      const box = document.getElementById('{element}').getBoundingClientRect();
      return {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }};
    }})()"""
    place = page.evaluate(middle)
    for kind in ("mousePressed", "mouseReleased"):
        page.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)


def type_text(page: Page, element: str, text: str) -> None:
    """Replace a field's text, as a hand does."""
    click(page, element)
    page.send("Input.dispatchKeyEvent", type="keyDown", key="a", code="KeyA", modifiers=2, commands=["selectAll"])
    page.send("Input.insertText", text=text)


def shown(page: Page) -> dict[str, Any]:
    """What the page shows once it has answered."""
    found: dict[str, Any] = page.evaluate("""(async () => {
      const answer = document.getElementById('answer');
      while (answer.hidden) await new Promise((done) => setTimeout(done, 5));
      const text = (one) => one.textContent;
      return {
        label: text(document.getElementById('label')),
        names: [...document.querySelectorAll('#scores .name')].map(text),
        scores: [...document.querySelectorAll('#scores .score')].map(text),
        time: text(document.getElementById('time')),
      };
    })()""")
    return found


@pytest.mark.parametrize("width", [390, 1280])
def test_a_typed_text_and_a_click_give_the_answer_of_run_py(
    built: Built, page_of: Callable[[Built], Path], width: int
) -> None:
    folder = page_of(built)
    ((label, score, scores),) = [
        (one["label"], one["score"], one["scores"]) for one in edgeprune.load_onnx(built.package)(["a superb film"])
    ]
    with opened(folder, width=width) as (page, server):
        type_text(page, "first", "a superb film")
        click(page, "ask")
        found = shown(page)
        assert found["label"] == found["names"][0] == label
        assert abs(float(found["scores"][0].removesuffix(" %")) - 100 * score) < 1.5  # int8 rounds otherwise there
        assert set(found["names"]) == scores.keys()
        assert "tokens, answered in" in found["time"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert server.fetched.keys() <= {path.name for path in folder.iterdir()}
        # An unread file is one that nobody needs to be sent.
        unread = {path.name for path in folder.iterdir()} - server.fetched.keys()
        assert unread == {"NOTICE.txt", *LICENCES}
        megabytes = page.evaluate("document.getElementById('facts').textContent").split()[3]
        fetched = sum(size for name, size in server.fetched.items() if name != "page.json") / 1e6
        assert float(megabytes) == pytest.approx(fetched, abs=0.05)


def test_the_licences_of_its_code_lie_in_the_page(built: Built, page_of: Callable[[Built], Path]) -> None:
    texts = {name: (page_of(built) / name).read_text(encoding="utf-8") for name in LICENCES}
    assert [words in text for words, text in zip(LICENCES.values(), texts.values(), strict=True)] == [True] * 3
    notice = (page_of(built) / "NOTICE.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in notice[1:]] == ["onnxruntime-web", "@huggingface/tokenizers"]


def test_the_keyboard_is_enough_and_an_empty_text_is_said(built: Built, page_of: Callable[[Built], Path]) -> None:
    with opened(page_of(built)) as (page, _):
        assert page.evaluate("document.activeElement.id") == "first"
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": 2}
        page.send("Input.dispatchKeyEvent", type="rawKeyDown", **enter)
        assert page.evaluate("document.getElementById('status').textContent") == "Type a text first."
        page.send("Input.insertText", text="an awful plot")
        page.send("Input.dispatchKeyEvent", type="rawKeyDown", **enter)
        assert shown(page)["label"] == edgeprune.load_onnx(built.package)(["an awful plot"])[0]["label"]
        assert page.evaluate("document.getElementById('status').textContent") == ""
        type_text(page, "first", " ")
        page.send("Input.dispatchKeyEvent", type="rawKeyDown", **enter)
        assert page.evaluate("document.getElementById('answer').hidden") is True  # it was another text's


def test_a_label_is_text_whatever_it_looks_like(built: Built, page_of: Callable[[Built], Path], tmp_path: Path) -> None:
    strange = ["<img src=x onerror=alert(1)>", "a" * 300]
    with opened(changed(page_of(built), tmp_path / "page", labels=strange, name="<b>name</b>"), width=390) as (page, _):
        type_text(page, "first", "a superb film")
        click(page, "ask")
        assert set(shown(page)["names"]) == set(strange)
        assert page.evaluate("document.querySelectorAll('img, b').length") == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_outputs_are_read_and_shown_as_run_py_reads_them(
    built: Built, page_of: Callable[[Built], Path], tmp_path: Path
) -> None:
    labels = description(built.package)["labels"]
    with opened(changed(page_of(built), tmp_path / "page", problem_type="multi_label_classification")) as (page, _):
        for kind in ("single_label_classification", "multi_label_classification", "regression"):
            config = {"labels": labels, "problem_type": kind}
            model = SimpleNamespace(config=config)
            expected = postprocess_classification.answer(np.array([1.25, -0.5]), None, None, model)
            read = f"import('./page.mjs').then(({{ read }}) => read([1.25, -0.5], {json.dumps(config)}))"
            found = page.evaluate(read)
            assert found.keys() == expected.keys()
            assert postprocess_classification.decision(found) == postprocess_classification.decision(expected)
            assert found.get("value") == expected.get("value")
            assert found.get("scores", {}) == pytest.approx(expected.get("scores", {}), abs=1e-4)
        type_text(page, "first", "a superb film")
        click(page, "ask")
        above = [label for label, score in zip(*(shown(page)[one] for one in ("names", "scores")), strict=True)
                 if float(score.removesuffix(" %")) > 50]  # fmt: skip
        assert sorted(filter(None, shown(page)["label"].split(", "))) == sorted(above or ["None of the labels"])


@pytest.mark.parametrize(
    ("strategy", "side"), [("longest_first", "right"), ("only_first", "left"), ("only_second", "right")]
)
def test_texts_are_cut_as_the_package_cuts_them(
    built: Built, page_of: Callable[[Built], Path], tmp_path: Path, strategy: str, side: str
) -> None:
    changes: dict[str, Any] = {"truncation": strategy, "truncation_side": side, "pair": True, "max_length": 24}
    pairs = [(LONG, "a bad plot"), ("a bad plot", LONG), ("a plot", "the film"), (LONG, LONG)]
    inputs = preprocess_text.Inputs(
        built.package,
        {**description(built.package), **changes, "inputs": TYPED},
        Tokenizer.from_file(str(built.package / "tokenizer.json")),
    )
    if strategy != "longest_first":  # a text that is not cut may be too long alone
        pairs = [one for one in pairs if len(one[strategy == "only_first"]) < len(LONG)]
    with opened(typed(page_of(built), tmp_path / "page", **changes)) as (page, _):
        asked = f"ready.then((answer) => Promise.all({json.dumps(pairs)}.map((pair) => answer(...pair))))"
        expected = [inputs.values(inputs.encode(pair)) for pair in pairs]
        assert all(1 in one["token_type_ids"] for one in expected)
        assert [one["inputs"] for one in page.evaluate(asked)] == expected
        assert page.evaluate("document.getElementById('second').offsetParent !== null") is True


def test_a_page_that_answers_otherwise_than_the_package_is_not_shipped(
    built: Built, page_of: Callable[[Built], Path], tmp_path: Path
) -> None:
    package, page, described = built.package, page_of(built), description(built.package)
    _require_same_answers(page, package, described, "chromium")
    turned = changed(page, tmp_path / "turned", labels=described["labels"][::-1])
    with pytest.raises(ParityError, match="the page gives another answer than the package"):
        _require_same_answers(turned, package, described, "chromium")
    shorter = changed(page, tmp_path / "shorter", max_length=4)
    with pytest.raises(ParityError, match="the page's tokenizer makes other inputs than the package's"):
        _require_same_answers(shorter, package, described, "chromium")
    # The same tokens, which the model would take for those of a second text.
    second = typed(page, tmp_path / "second")
    tokenizer = json.loads((second / "tokenizer.json").read_text(encoding="utf-8"))
    text = {"Sequence": {"id": "A", "type_id": 1}}
    first, last = ({"SpecialToken": {"id": name, "type_id": 1}} for name in ("[CLS]", "[SEP]"))
    tokenizer["post_processor"] = {"type": "TemplateProcessing", "single": [first, text, last]}
    (second / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(ParityError, match="the page's tokenizer makes other inputs than the package's"):
        _require_same_answers(second, package, {**described, "inputs": TYPED}, "chromium")


def test_a_page_is_made_without_a_browser_and_that_is_said(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for _ in range(2):  # the second build takes the page from the store
        done = built.again(*ASKED, "--json", output=tmp_path / "dist")
        assert done.code == 0, done.err
        assert "the page was not tried, because there is no Chromium on this machine" in done.document["notes"]
    assert (tmp_path / "dist" / f"{built.package.name}.page" / "index.html").is_file()
    done = built.again(output=tmp_path / "dist")  # a build without a page takes the older one away
    assert not (tmp_path / "dist" / f"{built.package.name}.page").exists()


def test_what_no_page_can_be_made_of_is_refused_before_anything_runs(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / f"{built.package.name}.page"
    taken.mkdir()
    (taken / "mine.txt").touch()
    done = built.again(*ASKED, output=tmp_path)
    assert (done.code, done.complaints) == (
        2,
        [f"edgeprune: {taken} exists and is not a page that edgeprune wrote; move it, or choose another --output"],
    )
    done = built.again(*ASKED, "--task", "feature-extraction", output=tmp_path / "dist")
    assert done.code == 2
    assert "stages.package.page shows labels, and feature-extraction has none" in done.err
    done = built.again(*ASKED, "--set", "target.precision.mode=fp16", output=tmp_path / "dist")
    assert done.code == 2
    assert "no fp16 in a browser" in done.err
    splitting = tmp_path / "splitting"
    shutil.copytree(built.model, splitting)
    settings = json.loads((splitting / "tokenizer_config.json").read_text(encoding="utf-8"))
    (splitting / "tokenizer_config.json").write_text(json.dumps({**settings, "split_special_tokens": True}))
    arguments = [splitting if one == str(built.model) else one for one in built.arguments]
    done = call(*arguments, *ASKED, "--store", tmp_path / "store", "--output", tmp_path / "dist")
    assert done.code == 2
    assert "this model's tokenizer splits them (split_special_tokens); set stages.package.page to false" in done.err
    assert not (tmp_path / "store").exists()
    monkeypatch.setenv("EDGEPRUNE_NODE_MODULES", str(tmp_path))
    done = built.again(*ASKED, output=tmp_path / "dist")
    assert done.code == 2
    assert "there is no onnxruntime-web and no @huggingface/tokenizers in" in done.err
