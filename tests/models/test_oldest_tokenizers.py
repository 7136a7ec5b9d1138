"""edgeprune/models/oldest_tokenizers.py"""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgeprune.models.oldest_tokenizers import oldest_tokenizers
from tests.support.trained_tokenizers import trained


@pytest.mark.parametrize(("kind", "oldest"), [("WordPiece", "0.13"), ("BPE", "0.20"), ("Unigram", "0.19")])
def test_what_builds_write(tmp_path: Path, kind: str, oldest: str) -> None:
    trained(kind).save_pretrained(tmp_path)
    assert oldest_tokenizers(tmp_path / "tokenizer.json") == oldest


@pytest.mark.parametrize(
    ("parts", "oldest"),
    [
        ({}, "0.13"),
        ({"model": {"type": "BPE"}}, "0.20"),
        ({"model": {"type": "BPE", "ignore_merges": True}}, "0.20.1"),
        ({"normalizer": {"type": "Replace"}}, "0.13"),
        ({"decoder": {"type": "Replace"}}, "0.13.3"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend"}]}}, "0.13.3"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Metaspace"}]}}, "0.19"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Sequence", "pretokenizers": [{"type": "FixedLength"}]}]}},
            "0.21.2",
        ),
        ({"post_processor": {"type": "Sequence", "processors": [{"type": "RobertaProcessing"}]}}, "0.13.2"),
        ({"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}]}}, "0.13.3"),
        ({"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Metaspace"}}, "0.20"),
    ],
)  # fmt: skip
def test_the_newest_part_decides(tmp_path: Path, parts: dict[str, Any], oldest: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "WordPiece"}, "decoder": None, **parts}), encoding="utf-8")
    assert oldest_tokenizers(path) == oldest


@pytest.mark.parametrize("role", ["model", "normalizer", "pre_tokenizer", "post_processor", "decoder"])
def test_what_nobody_tried_needs_the_version_that_wrote_it(tmp_path: Path, role: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "WordPiece"}, role: {"type": "New"}}), encoding="utf-8")
    assert metadata.version("tokenizers").startswith(oldest_tokenizers(path))
