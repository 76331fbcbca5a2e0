"""The address of a snapshot store, as an operator writes it.

    address := "file://" path                                          an absolute path
             | "s3://" bucket ["/" prefix] ["?" setting ["&" setting]]
    setting := "region=" name | "endpoint=" URL                        of another service than AWS

It holds no credentials, so it may be printed.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from .snapshot_store import SnapshotStore
from .store_folder import FolderStore


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A folder, or else a bucket."""

    folder: Path | None = None
    bucket: str = ""
    prefix: str = ""
    region: str = ""
    endpoint: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, whose text repeats nothing that could be a password."""
        address = urlsplit(text)
        if "@" in address.netloc:
            raise ValueError("credentials belong in the environment (AWS_ACCESS_KEY_ID and so on), not here")
        if address.fragment:
            raise ValueError("# has no meaning in it")
        if address.scheme == "file":
            if address.netloc or address.query or not address.path.startswith("/"):
                raise ValueError("a folder is file:// and its absolute path, and so begins with file:///")
            return cls(folder=Path(unquote(address.path)))
        if address.scheme != "s3" or re.fullmatch(r"[\w.-]+", address.netloc, re.ASCII) is None:
            raise ValueError("expected file:///folder or s3://bucket")
        settings = dict(parse_qsl(address.query, keep_blank_values=True))
        if unknown := settings.keys() - {"region", "endpoint"}:
            raise ValueError(f"a bucket has a region and an endpoint, and no {', '.join(sorted(unknown))}")
        endpoint = settings.get("endpoint", "")
        if endpoint and re.fullmatch(r"https?://[^/@\s]+(/[^@\s]*)?", endpoint) is None:
            raise ValueError("the endpoint is no http:// or https:// URL without credentials")
        prefix = unquote(address.path).strip("/")
        return cls(None, address.netloc, prefix, settings.get("region", ""), endpoint)

    @property
    def missing(self) -> str:
        """Return what must be installed before the store can be opened, or nothing."""
        installed = self.folder is not None or importlib.util.find_spec("obstore") is not None
        return "" if installed else "roomful[s3]"

    def open(self) -> SnapshotStore:
        """Return the store. Nothing is asked of it yet."""
        if self.folder is not None:
            return FolderStore(self.folder)
        # An extra that most installations do without.
        from .store_s3 import S3Store

        return S3Store(self.bucket, self.prefix, region=self.region, endpoint=self.endpoint)
