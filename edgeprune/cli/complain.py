"""Say what is wrong: on standard error, and, where GitHub Actions runs the command, as an annotation of its run."""

import os
import sys

from edgeprune.cli.console import err
from edgeprune.report.annotations import annotation

__all__ = ["complain"]


def complain(sentence: str, *, about: str | None = None) -> None:
    """Say what is wrong.

    Args:
        sentence: What is wrong.
        about: What the annotation is about; None: the command as a whole.
    """
    err.print(f"edgeprune: {sentence}", style="red")
    if os.environ.get("GITHUB_ACTIONS"):
        # Not by rich, which changes `:words:` between colons. The runner reads commands from standard error too.
        sys.stderr.write(annotation(sentence, title="edgeprune" if about is None else f"edgeprune: {about}") + "\n")
