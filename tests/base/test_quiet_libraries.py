import logging
import warnings
from collections.abc import Callable
from contextlib import suppress

import pytest
import transformers

from edgeprune.base.quiet_libraries import quiet_libraries


def test_libraries_say_nothing_inside(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    with quiet_libraries():
        print("progress")
        warnings.warn("careful", stacklevel=1)
        logging.getLogger("datasets").warning("careful")
        transformers.logging.get_logger("transformers.modeling_utils").warning("careful")
    assert capsys.readouterr() == ("", "")
    assert caplog.text == ""


def test_errors_come_through():
    with pytest.raises(ValueError, match="wrong"), quiet_libraries():
        raise ValueError("wrong")


def fail() -> None:
    raise ValueError("wrong")


@pytest.mark.parametrize("body", [fail, lambda: None])
def test_everything_is_as_before_afterwards(capsys: pytest.CaptureFixture[str], body: Callable[[], None]):
    def state() -> tuple[object, ...]:
        return (
            transformers.logging.get_verbosity(),
            transformers.logging.is_progress_bar_enabled(),
            logging.getLogger("datasets").level,
            logging.getLogger().level,
            list(warnings.filters),
        )

    before = state()
    with suppress(ValueError), quiet_libraries():
        assert state() != before
        body()
    assert state() == before
    print("heard")
    assert capsys.readouterr().out == "heard\n"
