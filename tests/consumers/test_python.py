"""Packages in optimum-onnx, sentence-transformers and fastembed: they open the folder, and answer as run.py does.

`make consumers` makes their environments. optimum-onnx, which sentence-transformers uses, can't be installed beside
transformers 5.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.cases import FASTEMBED, OPTIMUM, SENTENCE_TRANSFORMERS, Case
from tests.consumers.conftest import CONSUMERS, Packaged, Record

OFFLINE = {"HF_HUB_OFFLINE": "1"}


def needs(environment: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (CONSUMERS / environment).exists(), reason=f"{environment} isn't there; make consumers installs it"
    )


def answered(environment: str, program: str, *arguments: object, contents: Sequence[Any]) -> str:
    done = subprocess.run(
        [CONSUMERS / environment / "bin" / "python", Path(__file__).with_name(f"answer_with_{program}.py"), *map(str, arguments)],
        input=json.dumps(contents), capture_output=True, text=True, check=False, env={**os.environ, **OFFLINE},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs("python")
@pytest.mark.parametrize("case", OPTIMUM, ids=str)
def test_optimum_onnx(packaged: Callable[[Case], Packaged], case: Case, record_property: Record) -> None:
    package = packaged(case)
    contents = [*package.contents, *package.cut]
    package.expect(
        answered("python", "optimum", OPTIMUM[case], package.folder, contents=contents), contents, record_property
    )


@needs("python")
@pytest.mark.parametrize("case", SENTENCE_TRANSFORMERS, ids=str)
def test_sentence_transformers(packaged: Callable[[Case], Packaged], case: Case, record_property: Record) -> None:
    package = packaged(case)
    contents = [*package.contents, *package.cut]
    package.expect(
        answered("python", "sentence_transformers", package.folder, contents=contents), contents, record_property
    )


@needs("fastembed")
@pytest.mark.parametrize("case", FASTEMBED, ids=str)
def test_fastembed(packaged: Callable[[Case], Packaged], case: Case, record_property: Record) -> None:
    package = packaged(case)
    contents = [*package.contents, *package.cut]
    how = (case.pooling.upper(), "normalized" if case.pooling == "mean" else "as they are")
    package.expect(
        answered("fastembed", "fastembed", package.folder, *how, contents=contents), contents, record_property
    )
