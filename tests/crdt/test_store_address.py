"""The address of a snapshot store: what is one, and what is said of what is none."""

from pathlib import Path

import pytest

from roomful.crdt.store_address import StoreAddress
from roomful.crdt.store_folder import FolderStore
from roomful.crdt.store_s3 import S3Store


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("file:///var/lib/my%20rooms", StoreAddress(folder=Path("/var/lib/my rooms"))),
        ("s3://bucket", StoreAddress(bucket="bucket")),
        ("s3://my.bucket-1/some/where/", StoreAddress(bucket="my.bucket-1", prefix="some/where")),
        (
            "s3://bucket/rooms?region=eu-west-1&endpoint=http://127.0.0.1:9000",
            StoreAddress(None, "bucket", "rooms", "eu-west-1", "http://127.0.0.1:9000"),
        ),
    ],
)
def test_an_address_says_where(text: str, address: StoreAddress) -> None:
    assert StoreAddress.parse(text) == address
    assert address.missing == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file://rooms", "file:///"),
        ("file:rooms", "file:///"),
        ("file:///rooms?fast=1", "file:///"),
        ("s3://", "expected"),
        ("s3:///prefix", "expected"),
        ("s3://bucket:80", "expected"),
        ("gs://bucket", "expected"),
        ("s3://bucket#part", "#"),
        ("s3://key:secret@bucket", "environment"),
        ("file://key:secret@/rooms", "environment"),
        ("s3://bucket?access_key_id=secret", "no access_key_id"),
        ("s3://bucket?endpoint=127.0.0.1", "endpoint"),
        ("s3://bucket?endpoint=http://key:secret@127.0.0.1", "endpoint"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_a_secret(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        StoreAddress.parse(text)
    assert "secret" not in str(refusal.value)


def test_a_store_is_opened_without_being_asked_for_anything() -> None:
    assert isinstance(StoreAddress.parse("file:///not/there").open(), FolderStore)
    nowhere = "s3://bucket/prefix?region=nowhere-1&endpoint=https://127.0.0.1:1"
    assert isinstance(StoreAddress.parse(nowhere).open(), S3Store)
    assert isinstance(StoreAddress.parse("s3://bucket").open(), S3Store)


def test_a_bucket_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert StoreAddress.parse("s3://bucket").missing == "roomful[s3]"
    assert StoreAddress.parse("file:///rooms").missing == ""
