"""edgeprune/release/places/reference.py."""

from pathlib import Path

import pytest

from edgeprune.base.errors import UsageError
from edgeprune.release.places.reference import (
    FolderReference,
    HubReference,
    OciReference,
    Reference,
    is_reference,
    read_reference,
)

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (
            "oci://registry.example.com/team/reviews:1.4.0",
            OciReference("registry.example.com", "team/reviews", "1.4.0", None),
        ),
        (f"oci://localhost:5000/reviews@{DIGEST}", OciReference("localhost:5000", "reviews", None, DIGEST)),
        ("oci://[::1]:5000/a/b__c-d:x", OciReference("[::1]:5000", "a/b__c-d", "x", None)),
        ("hf://team/Reviews", HubReference("team/Reviews", None)),
        ("hf://team/reviews@release/1", HubReference("team/reviews", "release/1")),
        ("file:///releases/re%20views", FolderReference(Path("/releases/re views"))),
    ],
)
def test_references_are_read(text: str, read: Reference) -> None:
    assert read_reference(text) == read
    assert is_reference(text)
    if isinstance(read, OciReference | HubReference):
        assert str(read) == text


@pytest.mark.parametrize(
    "text",
    [
        "oci://registry.example.com/team/reviews", "oci://registry.example.com/Team/reviews:1", "oci://registry.example.com/team/reviews:", "oci://registry.example.com:1",
        "oci://registry.example.com/../reviews:1", f"oci://registry.example.com/team/reviews@{DIGEST[:-1]}", "hf://reviews", "hf://team/a/b",
        "file://releases/reviews", "file:///", "s3://bucket/reviews", "", "dist/reviews",
    ],
)  # fmt: skip
def test_what_is_no_reference_says_how_one_looks(text: str) -> None:
    with pytest.raises(UsageError, match="oci://host/name:tag"):
        read_reference(text)


def test_a_password_in_a_reference_is_not_repeated() -> None:
    with pytest.raises(UsageError, match="docker login") as caught:
        read_reference("oci://ali:sesame@registry.example.com/team/reviews:1")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("registry.example.com", False),
        ("localhost.evil.org", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_encryption(host: str, local: bool) -> None:
    assert OciReference(host, "reviews", "1", None).is_local is local
