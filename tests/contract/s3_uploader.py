"""Uploads one file to a store in S3 and kills itself with -9 in the middle of it.

    python -m tests.contract.s3_uploader URL FILE PARTS

It dies as soon as so many parts are on the server; others are on their way then.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tidemill.digest import digest_file
from tidemill.store.s3 import S3Store


def main(url: str, file: str, parts: str) -> None:
    """Upload and die."""
    store = S3Store(url)
    done, lock = [], threading.Lock()

    def after(**_: Any) -> None:
        with lock:
            done.append(1)
            if len(done) == int(parts):
                os.kill(os.getpid(), signal.SIGKILL)

    store._bucket.client.meta.events.register("after-call.s3.UploadPart", after)
    store.put_blob(Path(file), digest=digest_file(Path(file)))


if __name__ == "__main__":
    main(*sys.argv[1:])
