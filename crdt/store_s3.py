"""Snapshots as objects in a bucket of S3, or of what speaks like it (the extra ``roomful[s3]``).

Credentials are what the library finds: the usual environment variables of AWS, or the role of the machine.
"""

from datetime import timedelta

from obstore.exceptions import BaseError
from obstore.store import S3Store as Bucket

from .snapshot_store import LARGEST_OBJECT, StoreError, checked_key


class S3Store:
    """A SnapshotStore (see snapshot_store.py) in ``bucket``, with ``prefix`` and a slash before all keys.

    ``endpoint`` is the URL of a service other than AWS; the empty region or endpoint is the library's choice.
    """

    def __init__(self, bucket: str, prefix: str = "", *, region: str = "", endpoint: str = "") -> None:
        place: dict[str, str] = {}
        if region:
            place["region"] = region
        if endpoint:
            place["endpoint"] = endpoint
        self._bucket = Bucket(
            bucket,
            prefix=prefix or None,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=3),
                "timeout": timedelta(seconds=60),
            },
            # Not every service has the request that deletes many.
            disable_bulk_delete=True,
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
            **place,  # type: ignore[arg-type]
        )

    async def put(self, key: str, content: bytes) -> None:
        # In one request: parts of a put that was cut off would stay in the bucket, unseen and paid for.
        try:
            await self._bucket.put_async(checked_key(key), content, use_multipart=False)
        except (BaseError, OSError) as error:
            raise _failed(error) from error

    async def get(self, key: str) -> bytes:
        try:
            found = await self._bucket.get_async(checked_key(key))
            if found.meta["size"] > LARGEST_OBJECT:
                raise StoreError(f"{key}: larger than a snapshot is")
            return bytes(await found.bytes_async())
        except (BaseError, OSError) as error:
            raise _failed(error) from error

    async def delete(self, key: str) -> None:
        try:
            await self._bucket.delete_async(checked_key(key))
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise _failed(error) from error


def _failed(error: Exception) -> StoreError:
    # The library follows its sentence by a dump of its own values, over many lines.
    return StoreError(str(error).strip().partition("\n")[0][:500])
