"""The images of the Dockerfile: what the smaller one installs is enough to serve a package."""

import re
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.e2e import Built
from tests.support.serving import serving

CHECKOUT = Path(__file__).parent.parent
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def served() -> set[str]:
    """The distributions that the image installs, with what they need themselves, by their canonical names."""
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    found, left = set[str](), set(re.search(r"^SERVED := (.+)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    while left:
        name = canonicalize_name(left.pop())
        found.add(name)
        needed = map(Requirement, distribution(name).requires or [])
        left |= {one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})} - found
    return found


def test_the_image_that_serves_has_what_serving_imports(built: Built) -> None:
    kept = served() | {"edgeprune"}
    missing = {
        module
        for module, names in packages_distributions().items()
        if not kept & {canonicalize_name(one) for one in names}
    }
    assert {"torch", "transformers", "onnx", "scipy"} <= missing
    with serving(built.package, before=WITHOUT.format(missing=missing)) as server:
        assert "label" in server.predict("A film.").document["answers"][0]
        assert server.stop()[0] == 0
