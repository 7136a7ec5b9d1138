from urllib.parse import unquote

import pytest

from edgeprune.report.annotations import annotation


def test_a_sentence_is_a_workflow_command() -> None:
    said = annotation("size_mb is 30, but the budget of pi: 25", title="edgeprune: reviews, 1.4")
    assert said == "::error title=edgeprune%3A reviews%2C 1.4::size_mb is 30, but the budget of pi: 25"


@pytest.mark.parametrize("text", ["50% of\r\n::set-env name=A::b", "%0A is no line break", "a::b,c:d"])
def test_no_text_ends_a_command_or_a_property(text: str) -> None:
    said = annotation(text, title=text)
    assert said.splitlines() == [said]
    _, properties, message = said.split("::", 2)
    assert properties.removeprefix("error title=").isascii()
    assert not set(",:\r\n") & set(properties.removeprefix("error title="))
    assert (unquote(properties.removeprefix("error title=")), unquote(message)) == (text, text)
