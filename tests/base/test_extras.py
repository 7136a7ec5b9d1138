"""edgeprune/base/extras.py"""

import re

import pytest

from edgeprune.base.errors import UsageError
from edgeprune.base.extras import from_extra


def test_what_is_installed_is_imported() -> None:
    assert from_extra("json", "viz", "this").loads("1") == 1


def test_what_is_not_installed_comes_with_its_command() -> None:
    expected = "this picture needs not_there_at_all; install it with: pip install 'edgeprune[viz]'"
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        from_extra("not_there_at_all", "viz", "this picture")
