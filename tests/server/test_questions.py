"""edgeprune/server/questions.py: texts, pairs and images of a request, and nothing else."""

import base64
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from edgeprune.server.limits import Limits
from edgeprune.server.questions import question_of, what_is_wrong

PAIRS = SimpleNamespace(kind="text", pair=True)
IMAGES = SimpleNamespace(kind="image", pair=False)


def read(model: Any, inputs: Any, **limits: int) -> Any:
    question = question_of(model, Limits(**limits))
    return question.model_validate_json(json.dumps({"inputs": inputs})).contents()


def refused(model: Any, inputs: Any, **limits: int) -> str:
    with pytest.raises(ValidationError) as caught:
        read(model, inputs, **limits)
    status, sentence = what_is_wrong(caught.value)
    assert status == 422
    return sentence


def test_pairs() -> None:
    assert read(PAIRS, ["q", "c"]) == [("q", "c")]
    assert read(PAIRS, [["q", "c"], ["r", "d"]]) == [("q", "c"), ("r", "d")]
    assert refused(PAIRS, "q") == "inputs: should be a list of two texts"
    assert refused(PAIRS, ["q"]) == "inputs[1]: is missing, and two texts belong together"
    assert refused(PAIRS, ["q", "c", "d"]) == "inputs: should have at most 2 items"
    assert refused(PAIRS, [["q", "c"], ["r"]]) == "inputs[1][1]: is missing, and two texts belong together"
    assert refused(PAIRS, [["q", 7]]) == "inputs[0][1]: should be a valid string"
    assert refused(PAIRS, [["q", "cc"]], characters=1) == "inputs[0][1]: should have at most 1 characters"
    assert refused(PAIRS, []) == "inputs: should have at least 1 item"


def test_unknown_keys_are_named() -> None:
    question = question_of(PAIRS, Limits())
    for key in ("input", "one", "several", "{key}"):
        with pytest.raises(ValidationError) as caught:
            question.model_validate_json(json.dumps({"inputs": ["q", "c"], key: 1}))
        assert what_is_wrong(caught.value) == (422, f"the body has the unknown key {key!r}; it takes inputs alone")
    with pytest.raises(ValidationError) as caught:
        question.model_validate_json(json.dumps({"inputs": ["q", "c"], **{str(key): 1 for key in range(1000)}}))
    assert caught.value.error_count() == 1, "a thousand cost no more than one"
    assert question.model_json_schema()["additionalProperties"] is False


def drawn(kind: str, *size: int) -> str:
    file = io.BytesIO()
    Image.new("1" if kind == "PNG" else "RGB", size).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def png(*size: int) -> str:
    return drawn("PNG", *size)


def test_images() -> None:
    image = png(4, 4)
    assert read(IMAGES, image) == [base64.b64decode(image)]
    assert read(IMAGES, [image, image], pixels=16) == [base64.b64decode(image)] * 2
    for kind in ("BMP", "GIF", "JPEG", "PPM", "TIFF", "WEBP"):
        assert read(IMAGES, drawn(kind, 4, 4))
    for text in ("/etc/passwd", "photo.jpg", "🎞"):
        assert refused(IMAGES, [text]) == "inputs[0]: should be the bytes of an image's file in base64"
    assert refused(IMAGES, image, pixels=15) == "inputs: should have at most 15 pixels, got 16"


def test_a_small_file_that_is_a_large_image() -> None:
    assert refused(IMAGES, png(12_000, 12_000)) == "inputs: should have at most 50,000,000 pixels, got 144,000,000"
    assert refused(IMAGES, png(20_000, 20_000)) == "inputs: should have at most 50,000,000 pixels, got inf"


def test_a_format_that_has_to_be_decoded_to_know_its_size() -> None:
    """An icon of a few kilobytes may have a PNG of any size in it, and Pillow decodes that to open the icon."""
    icon = drawn("ICO", 32, 32)
    error = "should be an image in one of the formats AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
    assert refused(IMAGES, icon) == f"inputs: {error}"
    assert refused(IMAGES, [png(4, 4), icon]) == f"inputs[1]: {error}"
    assert refused(IMAGES, base64.b64encode(b"no image").decode()) == f"inputs: {error}"


def test_nothing_is_read_behind_the_first_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(Image, "open", lambda file, **_: opened.append(file))
    refused(IMAGES, [png(4, 4)] * 30)
    assert len(opened) == 1
