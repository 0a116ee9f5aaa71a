"""A driver of paged programs on a session of paper, which writes calls down."""

from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import WorkError
from tidemill.steps.work.drivers.paged_lm import PagedDriver, Pages, page_table, pages_of
from tidemill.steps.work.runner import Value


class Paper:
    """A session that writes calls down and answers with logits that tell their place."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def function(self, name: str) -> str:
        return name

    def keep_zeros(self, shape: Any, *, dtype: str) -> str:
        return f"{dtype} {list(shape)}"

    def call(self, function: str, arguments: Any) -> list[Value]:
        *arrays, cache = arguments
        first = arrays[0].array
        lists = [one.array.tolist() for one in arrays]
        self.calls.append({"function": function, "given": lists, "cache": cache})
        logits = np.repeat(first[:, :, None].astype(np.float32), 3, axis=2)
        return [Value(array=logits, dtype="f32")]


def driven(folder: Path) -> dict[str, Any]:
    """The calls that a ragged sample becomes, and its outputs."""
    pages = Pages(
        stride=4, count=9, elements=6, dtype="f8E4M3FNUZ",
        prefill_batches=(2,), decode_batches=(2,),
    )  # fmt: skip
    session: Any = Paper()

    def sample(*arrays: Any) -> list[Value]:
        return [Value(array=np.array(one), dtype="i64") for one in arrays]

    prompt = [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    results = PagedDriver(session, pages=pages).call(sample(prompt, [5, 2], [[8, 9], [10, 11]]))
    config = folder / "config.json"
    config.write_text("{}", encoding="utf-8")
    return {
        "calls": session.calls,
        "outputs": [one.array[..., 0].tolist() for one in results],
        "table": page_table(pages, batch=2, tokens=9).tolist(),
        "too long": said(lambda: page_table(pages, batch=2, tokens=17)),
        "other batch": said(
            lambda: PagedDriver(session, pages=pages).call(sample([[1]], [1], [[2]]))
        ),
        "no config": said(lambda: pages_of({"config.json": config})),
    }


def said(act: Any) -> str:
    """The message of the WorkError that ``act`` ends with."""
    try:
        act()
    except WorkError as error:
        return error.message
    return "nothing"
