"""The archive writer: its bytes against IREE's own builder, and its refusals."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.exporters.irpa import Entry, layout, write_archive

ENTRIES = (
    Entry(name="b", size=5, metadata="MB"),
    Entry(name="a.very.long/name", size=160),
    Entry(name="one", size=1, metadata="PYTORCH:{}"),
    Entry(name="page", size=5000),
)
BUILD = """
import json, sys, iree.runtime as rt
index = rt.ParameterIndex()
for name, metadata, data in json.load(open("entries.json")):
    index.add_buffer(name, bytes.fromhex(data), **({"metadata": metadata} if metadata else {}))
index.create_archive_file("iree.irpa")
"""


def data_of(entry: Entry) -> bytes:
    return bytes((place * 7 + len(entry.name)) % 251 for place in range(entry.size))


def pieces(entry: Entry) -> Iterator[memoryview]:
    data = data_of(entry)
    for start in range(0, len(data), 64):
        yield memoryview(data[start : start + 64])


@pytest.mark.toolchain
def test_bytes_are_those_of_irees_own_builder(tmp_path: Path, toolchain_python: Path) -> None:
    rows = [[entry.name, entry.metadata, data_of(entry).hex()] for entry in ENTRIES]
    (tmp_path / "entries.json").write_text(json.dumps(rows), encoding="utf-8")
    subprocess.run([str(toolchain_python), "-c", BUILD], cwd=tmp_path, check=True)
    write_archive(tmp_path / "ours.irpa", ENTRIES, contents=pieces)
    assert (tmp_path / "ours.irpa").read_bytes() == (tmp_path / "iree.irpa").read_bytes()


def test_contents_lie_aligned_where_the_layout_says(tmp_path: Path) -> None:
    size = write_archive(tmp_path / "a.irpa", ENTRIES, contents=pieces)
    data, plan = (tmp_path / "a.irpa").read_bytes(), layout(ENTRIES)
    assert len(data) == size == plan.size
    assert size % 4096 == 0
    assert [offset % 64 for offset in plan.offsets] == [0, 0, 0, 0]
    found = [
        data[offset : offset + entry.size]
        for offset, entry in zip(plan.offsets, ENTRIES, strict=True)
    ]
    assert found == [data_of(entry) for entry in ENTRIES]


def test_contents_of_the_wrong_length_are_refused(tmp_path: Path) -> None:
    for data, count in ((b"1234", 4), (b"123456", 6)):
        with pytest.raises(ValueError, match=f"^b: {count} bytes came, 5 were declared$"):
            write_archive(
                tmp_path / "a.irpa",
                ENTRIES[:1],
                contents=lambda _, data=data: [memoryview(data)],  # type: ignore[misc]
            )


def test_a_repeated_or_missing_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^b: declared twice$"):
        layout((ENTRIES[0], ENTRIES[1], ENTRIES[0]))
    with pytest.raises(ValueError, match=r"^a parameter has no name$"):
        layout((Entry(name="", size=1),))
