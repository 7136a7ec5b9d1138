"""Read a request: `{"inputs": …}`, one input or a list of them, as the package takes them.

A text is a string, two texts that belong together are a list of two, and an image is the bytes of its file in base64.
A path of an image is never taken: a request must not read the server's files.
"""

import base64
import binascii
import io
import math
import warnings
from functools import partial
from typing import Annotated, Any, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from edgeprune.pipeline.package_model import Content, PackageModel
from edgeprune.server.limits import Limits

__all__ = ["Question", "question_of", "what_is_wrong"]


class Question(BaseModel):
    """Be what every request is, whatever the package takes."""

    # Not "forbid", which makes an error of each unknown key: there may be half a million.
    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra={"additionalProperties": False})

    @model_validator(mode="after")
    def _has_nothing_else(self) -> Self:
        if self.model_extra:
            key = repr(next(iter(self.model_extra))[:80])
            raise PydanticCustomError(
                "unknown_key", "the body has the unknown key {key}; it takes inputs alone", {"key": key}
            )
        return self

    def contents(self) -> list[Content]:
        """Give the inputs, as a package's model takes them."""
        inputs = cast("Any", self).inputs
        return inputs if isinstance(inputs, list) else [inputs]


def question_of(model: PackageModel, limits: Limits) -> type[Question]:
    """Make the class of the requests that a package's model can be asked."""
    text = Annotated[str, Field(max_length=limits.characters)]
    one: Any = text
    what = "A text"
    if model.kind == "image":
        _quiet()
        one, what = (
            Annotated[str, AfterValidator(partial(_image, limits.pixels))],
            "The bytes of an image's file in base64",
        )
    elif model.pair:
        one, what = tuple[text, text], "Two texts that belong together"
    several = Annotated[list[one], Field(min_length=1, max_length=limits.texts, fail_fast=True)]
    inputs = Annotated[
        Annotated[one, Tag("one")] | Annotated[several, Tag("several")],
        Discriminator(_of_pairs if model.pair else _of_singles),
        Field(description=f"{what}, or a list of them."),
    ]
    return create_model("Question", __base__=Question, inputs=(inputs, ...))


def what_is_wrong(error: ValidationError) -> tuple[int, str]:
    """Say in a status and a sentence what the first thing is that a request's body does wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    # The second part is the tag of the discriminator, which is none of the client's business.
    parts = [part for position, part in enumerate(first["loc"]) if position != 1]
    place = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in parts)
    if first["type"] == "json_invalid":
        return 400, f"the body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
    if first["type"] == "unknown_key":
        return 422, first["msg"]
    if first["type"] == "missing" and place == "inputs":
        return 422, 'the body has no inputs; send {"inputs": …}'
    if first["type"] in _OWN_WORDS:
        return 422, f"{place}: {_OWN_WORDS[first['type']].format(**first.get('ctx', {}))}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return 422, f"{place or 'the body'}: {message[:1].lower()}{message[1:]}"


_OWN_WORDS = {
    "too_short": "should have at least {min_length:,} item",
    "too_long": "should have at most {max_length:,} items",
    "tuple_type": "should be a list of two texts",
    "missing": "is missing, and two texts belong together",
    "string_too_long": "should have at most {max_length:,} characters",
}
"""Messages of pydantic that speak of what a client doesn't know."""


def _of_singles(inputs: object) -> str:
    return "several" if isinstance(inputs, list) else "one"


def _of_pairs(inputs: object) -> str:
    return "several" if isinstance(inputs, list) and not (inputs and isinstance(inputs[0], str)) else "one"


_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that tell an image's size in their head. Of others, such as ICO and ICNS, Pillow decodes all to learn the size."""


def _image(most: int, text: str) -> bytes:
    """Give the bytes of an image's file. Whether all of it can be read, the model finds out."""
    from PIL import Image

    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("should be the bytes of an image's file in base64") from error
    pixels: float
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = math.inf
    except Exception as error:  # every format's reader has exceptions of its own
        raise ValueError(f"should be an image in one of the formats {', '.join(_FORMATS)}") from error
    if pixels > most:
        raise ValueError(f"should have at most {most:,} pixels, got {pixels:,}")
    return data


def _quiet() -> None:
    """Let Pillow not warn of large images: the limit refuses them. For the whole process, as threads share the filters."""
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
