"""A growing text, piece by piece."""

from collections.abc import Callable, Iterable, Iterator, Sequence

#: What a decoder writes for bytes that are no character, or not yet one.
_HALF = "\ufffd"


def pieces(
    decode: Callable[[list[int]], str], ids: Sequence[int], tokens: Iterable[int]
) -> Iterator[str]:
    """What each of ``tokens`` adds to the text of ``ids``; together they are the whole text.

    That holds for a ``decode`` that only appends as tokens come, but for bytes that are not yet a
    character. The first piece begins with the text of ``ids``. Part of a character waits for its
    rest.
    """
    made = list(ids)
    text, shown = "", 0
    for token in tokens:
        made.append(token)
        text = decode(made)
        ready = text.rstrip(_HALF)
        if len(ready) > shown:
            yield ready[shown:]
            shown = len(ready)
    if text[shown:]:
        yield text[shown:]
