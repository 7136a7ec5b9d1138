"""examples: write small programs beside the package that answer with it in other languages.

A program reads what it needs from the package (`edgeprune.json`, `goldens.json`) when it runs, so that one program fits every
package. Therefore nothing is compiled here, and the programs are the files of `edgeprune/ondevice/examples` as they are:

    examples/README.md              the languages, and how far edgeprune's tests check each one
    examples/<language>/README.md   the commands that build and run it
    examples/<language>/…           the program, and what its language builds it with
    examples/SHA256SUMS             the digest of every other file
"""

import shutil
from pathlib import Path

from pydantic import JsonValue

from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.pipeline import ExampleLanguage
from edgeprune.store.files import file_records
from edgeprune.store.package import write_digests
from edgeprune.store.records import StageMetrics

__all__ = ["CHECKED", "EXAMPLES", "Examples"]

EXAMPLES = "examples"

CHECKED: dict[ExampleLanguage, str] = {
    "cpp": "compiled, and run on packages, by edgeprune's tests",
    "js": "run on packages by edgeprune's tests",
    "java": "compiled by edgeprune's tests, and not run",
    "kotlin": "compiled by edgeprune's tests, and not run",
}
"""How far the tests in tests/consumers check each program."""

_TITLES: dict[ExampleLanguage, str] = {"cpp": "C++", "js": "JavaScript (Node)", "java": "Java", "kotlin": "Kotlin"}
_SOURCE = Path(__file__).parents[2] / "ondevice" / "examples"
_PACKAGE = "{{package}}"
"""What stands in the README of a language for the name of the package's folder."""

_OVERVIEW = """\
# Examples for {package}

Each program answers texts with the package, which lies beside this folder. It uses the session options that won the race, and the
package's tokenizer, truncation and labels. With `--check` it replays the package's goldens, and exits with 5 if an answer differs.

The next build of this name replaces this folder, and is refused while a file of it is changed. Copy a program before you change it.

| language | the program was |
|---|---|
{rows}
"""


class Examples(Stage):
    """Copy the programs of some languages.

    Args:
        languages: The languages, in the pipeline's order.
        package: The name of the package's folder, which lies beside the folder with the examples.
        round_number: The round of the package's checkpoint.
    """

    name = "examples"
    version = 1
    roles = ("package",)
    produces = (EXAMPLES,)

    def __init__(self, languages: tuple[ExampleLanguage, ...], *, package: str, round_number: int) -> None:
        self.round = round_number
        self._languages = languages
        self._package = package

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "package": self._package,
            "languages": {
                language: {record.path: record.sha256 for record in file_records(_SOURCE / language)}
                for language in self._languages
            },
        }

    def run(self, work: Work) -> StageMetrics:
        folder = work.folder / EXAMPLES
        for language in self._languages:
            shutil.copytree(_SOURCE / language, folder / language)
            readme = folder / language / "README.md"
            text = readme.read_text(encoding="utf-8").replace(_PACKAGE, self._package)
            readme.write_text(text, encoding="utf-8")
        rows = [f"| [{_TITLES[one]}]({one}/README.md) | {CHECKED[one]} |" for one in self._languages]
        overview = _OVERVIEW.format(package=self._package, rows="\n".join(rows))
        (folder / "README.md").write_text(overview, encoding="utf-8")
        write_digests(folder)
        return StageMetrics()
