"""What a store refuses when it can only be read."""

from pathlib import Path
from typing import NoReturn

from tidemill.digest import Digest
from tidemill.errors import StoreError
from tidemill.store.layout import short


class ReadOnly:
    """The writing half of Store: every method raises StoreError. ``url`` is set by who derives."""

    url: str

    def put_blob(self, source: Path, *, digest: Digest) -> bool:
        """Refused."""
        del source
        self._refuse(f"store blob {short(digest)}")

    def put_bytes(self, data: bytes) -> Digest:
        """Refused."""
        self._refuse(f"store a blob of {len(data)} bytes")

    def create(self, name: str, data: bytes) -> bool:
        """Refused."""
        del data
        self._refuse(f"write {name}")

    def replace(self, name: str, data: bytes) -> None:
        """Refused."""
        del data
        self._refuse(f"write {name}")

    def remove(self, name: str) -> None:
        """Refused."""
        self._refuse(f"remove {name}")

    def discard_blob(self, digest: Digest) -> None:
        """Refused."""
        self._refuse(f"set aside blob {short(digest)}")

    def _refuse(self, doing: str) -> NoReturn:
        raise StoreError(
            f"{self.url} is read-only here: cannot {doing}",
            hint="write to the folder or bucket behind it: --store PATH or --store s3://BUCKET",
        )
