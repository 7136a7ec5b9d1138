"""Write a sentence as a workflow command of GitHub Actions, which shows it as an annotation of the run.

::error title=edgeprune::latency_p90_ms is 26 ms, but the budget of cpu-x86-avx2 is 25 ms

The runner reads commands from both outputs of a step, so that they may go to standard error and leave a document on standard
output whole. What would end a command or a property is escaped, as GitHub's own toolkit does it:
https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
"""

__all__ = ["annotation"]

_OF_MESSAGES = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
_OF_PROPERTIES = (*_OF_MESSAGES, (":", "%3A"), (",", "%2C"))


def annotation(sentence: str, *, title: str) -> str:
    """Write an error as a workflow command, without the line's end."""
    return f"::error title={_escaped(title, _OF_PROPERTIES)}::{_escaped(sentence, _OF_MESSAGES)}"


def _escaped(text: str, codes: tuple[tuple[str, str], ...]) -> str:
    for character, code in codes:
        text = text.replace(character, code)
    return text
