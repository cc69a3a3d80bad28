"""Creates an object of an S3 bucket only if there is none of its name, for which pyarrow has no call.

Of two writers that create the same object at once, S3 lets one win.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_CONNECT_S, _READ_S = 5, 20


class UnknownConditionError(OSError):
    """The server does not know conditional writes."""


class ConditionalWrites:
    """Conditional writes to one bucket.

    Args:
        url: The URL of the bucket as pyarrow reads it. Without keys in it, they are looked up where pyarrow looks:
            environment, configuration files, role of the machine.
        region: The region of the bucket.
    """

    def __init__(self, url: str, region: str) -> None:
        self._url = urlsplit(url)
        self._region = region

    def create(self, path: str, data: bytes) -> bool:
        """Write a new object, at a path that begins with the bucket; False if there is one, which stays as it is.

        Servers that ignore the condition overwrite it.

        Raises:
            UnknownConditionError: if the server refuses the condition.
            OSError: if it does not answer, or refuses anything else.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only who writes to S3 waits for it

        bucket, _, key = path.partition("/")
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            match error.response["ResponseMetadata"]["HTTPStatusCode"]:
                case 412:
                    return False
                case 501:
                    raise UnknownConditionError(str(error)) from error
            raise OSError(str(error)) from error
        except BotoCoreError as error:
            raise OSError(str(error)) from error
        return True

    @cached_property
    def _client(self) -> Any:
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        options = {name: values[0] for name, values in parse_qs(self._url.query).items()}
        endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL_S3")
        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint and "://" not in endpoint:
            endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
        return botocore.session.Session().create_client(
            "s3",
            region_name=self._region,
            endpoint_url=endpoint,
            aws_access_key_id=self._url.username and unquote(self._url.username),
            aws_secret_access_key=self._url.password and unquote(self._url.password),
            verify=options.get("tls_ca_file_path"),
            config=Config(
                connect_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                retries={"mode": "standard"},
                # As pyarrow does: a server at an address of its own is asked for /BUCKET/KEY, and gets no checksum.
                s3={"addressing_style": "path" if endpoint else "auto"},
                request_checksum_calculation="when_required",
            ),
        )
