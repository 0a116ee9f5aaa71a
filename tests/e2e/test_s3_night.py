"""A night whose store is a bucket: built through it, reused from it, pulled out of it."""

import hashlib
from pathlib import Path

from tests.workbench import Workbench


def test_what_a_night_puts_into_a_bucket_is_reused_and_pulled(
    fresh: Workbench, s3_url: str, tmp_path: Path
) -> None:
    store, target = ("--store", s3_url), tmp_path / "pulled"
    assert set(fresh.run("small", *store).outcomes.values()) == {"built", "unvalidated"}
    assert set(fresh.run("small", *store).outcomes.values()) == {"reused", "unvalidated"}
    listed = fresh.call("ls", "tiny/*", *store, "--json").json
    fresh.call("pull", "tiny/*", "--channel", "small", "--to", str(target), *store)
    pulled = {
        path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in target.rglob("*")
        if path.is_file()
    }
    expected = {one["file"]: one["digest"] for one in listed if one["channel"] == "small"}
    assert expected
    assert pulled.items() >= expected.items()
    assert not fresh.store.exists()
