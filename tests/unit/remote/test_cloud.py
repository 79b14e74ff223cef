"""Settings of buckets that would break off in the middle of a request."""

from __future__ import annotations

import pytest

from git_nn.errors import RemoteError
from git_nn.remote.cloud import open_bucket


@pytest.mark.parametrize("address", ["", "127.0.0.1:9000", "ftp://example.com"])
def test_an_endpoint_that_is_no_web_address_is_said_so(address: str) -> None:
    with pytest.raises(RemoteError, match="AWS_ENDPOINT_URL is no address") as caught:
        open_bucket("s3://bucket/prefix", {"AWS_ENDPOINT_URL": address})
    assert "AWS_ENDPOINT_URL=https://HOST" in caught.value.hint
