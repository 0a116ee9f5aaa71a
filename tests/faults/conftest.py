"""Fixtures of the tests that drive a workbench, or a real S3 server."""

from tests.servers import s3_url, seaweedfs
from tests.workbench_fixtures import built, fresh, template

__all__ = ["built", "fresh", "s3_url", "seaweedfs", "template"]
