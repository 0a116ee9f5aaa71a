"""Finds two releases and what their records say, and tells what changed."""

import msgspec

from tidemill.cache import seal_of
from tidemill.channels import head, history, names, read_release
from tidemill.diff import Records, first_release, release_diff, wanted_records
from tidemill.digest import is_digest
from tidemill.errors import UsageError
from tidemill.records import ActionResult, Release, ReleaseDiff
from tidemill.store.contract import Store
from tidemill.store.layout import action_name
from tidemill.store.reading import read_many

LEAST_DIGITS = 8


def find_release(store: Store, text: str) -> str:
    """The digest of the release that a person means.

    ``text`` is a digest, or its first digits (at least LEAST_DIGITS); a channel, for its head; or
    ``channel@sequence``. Raises UsageError when it is none of these, StoreError for trouble.
    """
    if is_digest(text):
        return text
    channel, at, sequence = text.partition("@")
    if at:
        return _entry(store, channel, sequence=sequence)
    if channel in names(store) and (entry := head(store, channel)):
        return entry.release
    return _by_digits(store, text)


def _entry(store: Store, channel: str, *, sequence: str) -> str:
    entries = history(store, channel)
    for entry in entries:
        if str(entry.sequence) == sequence:
            return entry.release
    known = ", ".join(str(entry.sequence) for entry in entries[:10]) or "none"
    raise UsageError(
        f"channel {channel!r} has no sequence {sequence}", hint=f"its newest sequences are: {known}"
    )


def _by_digits(store: Store, text: str) -> str:
    listed = (
        entry.name.rpartition("/")[2].removesuffix(".json") for entry in store.list("releases")
    )
    found = [digest for digest in listed if digest.startswith(text)]
    if len(text) < LEAST_DIGITS or len(found) != 1:
        many = len(text) >= LEAST_DIGITS and len(found) > 1
        raise UsageError(
            f"{len(found)} releases begin with {text}"
            if many
            else f"{text!r} is neither a channel of {store.url} nor a release in it",
            hint=f"channels: {', '.join(names(store)) or 'none yet'}; or give the digits of a"
            f" release, at least {LEAST_DIGITS}, or channel@sequence",
        )
    return found[0]


def compare(store: Store, before: str, after: str) -> ReleaseDiff:
    """What changed between two releases, by their digests; ``before`` may be "" for none.

    A record that is gone or damaged makes less known, and is told. Raises StoreError for a release
    that cannot be used.
    """
    now = read_release(store, after)
    if not before:
        return first_release(now, digest=after)
    was = read_release(store, before)
    records = _records(store, was, now)
    return release_diff(was, now, digests=(before, after), records=records)


def _records(store: Store, before: Release, after: Release) -> Records:
    wanted = {action_name(step, key): (step, key) for step, key in wanted_records(before, after)}
    found = {}
    for name, data in read_many(store, sorted(wanted)):
        try:
            result = msgspec.json.decode(data, type=ActionResult)
        except ValueError:
            continue
        if result.seal == seal_of(result):
            found[wanted[name]] = result
    return found
