"""S3 servers on loopback, moto's and s3rver, for the tests that need a bucket."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

ENVIRONMENT = {
    "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
}  # fmt: skip
_S3RVER = Path(sys.prefix) / "s3rver/node_modules/s3rver/bin/s3rver.js"  # scripts/environment


@dataclass(frozen=True)
class S3Server:
    """``endpoint`` is for AWS_ENDPOINT_URL."""

    endpoint: str
    key: str = "key"
    secret: str = "s3cret"

    @property
    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        return ENVIRONMENT | keys | {"AWS_ENDPOINT_URL": self.endpoint}

    def client(self) -> Any:
        """Amazon's own client."""
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id=self.key, aws_secret_access_key=self.secret,
        )  # fmt: skip

    def make_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)

    def value(self, bucket: str, key: str) -> bytes:
        data: bytes = self.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client().put_object(Bucket=bucket, Key=key, Body=data)


@contextmanager
def moto() -> Iterator[S3Server]:
    """A server for the block."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()


@contextmanager
def s3rver(folder: Path) -> Iterator[S3Server]:
    """Another one for the block, which checks signatures and ignores conditions of a PUT."""
    argv = ["node", str(_S3RVER), "-d", str(folder / "data"), "-a", "127.0.0.1", "-p", "0"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*argv, "--no-vhost-buckets"], stdout=log, stderr=log) as server,
    ):
        try:
            yield S3Server(_address(server, folder / "log"), "S3RVER", "S3RVER")
        finally:
            server.terminate()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    """What it says that it listens on, as soon as it says so."""
    while server.poll() is None:
        if found := re.search(r"listening on (\S+)\n", log.read_text()):
            return f"http://{found[1]}"
        time.sleep(0.02)
    raise RuntimeError(log.read_text())
