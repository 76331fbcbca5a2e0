"""A Redis that is spoken to over TLS only, with a certificate of its own making."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from roomful.crdt.log_redis import RedisLog
from tests.crdt.ear import Ear
from tests.ports import free_port
from tests.redis_process import RedisProcess
from tests.waiting import until


class Secured(NamedTuple):
    """Where it listens with TLS, and whom to trust for it."""

    port: int
    certificate: Path


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    certificate, key, port = tmp_path / "certificate.pem", tmp_path / "key.pem", free_port()
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    redis = RedisProcess(
        tmp_path / "redis",
        [
            "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
            "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no",
        ],
    )  # fmt: skip
    redis.start()
    yield Secured(port, certificate)
    redis.kill()


async def test_rooms_are_kept_and_followed_over_tls(secured: Secured) -> None:
    url = f"rediss://localhost:{secured.port}/0?ssl_ca_certs={secured.certificate}"
    async with RedisLog(url) as log, RedisLog(url) as other:
        ear = Ear()
        await other.open("room")
        other.follow("room", ear)
        durable = asyncio.Event()
        log.append("room", b"written", lambda _: durable.set())
        await durable.wait()
        assert (await log.load("room")).entries == [b"written"]
        await until(lambda: ear.updates == [b"written"])


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_said(secured: Secured) -> None:
    async with RedisLog(f"rediss://localhost:{secured.port}/0") as log:
        log.append("room", b"kept to itself", lambda _: None)
        assert log.condition.failing
        assert "certificate" in log.condition.reason
        assert log.backlog_entries == 1
