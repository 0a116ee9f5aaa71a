"""Where things lie in a store, and which names are allowed. Pure: strings in, strings out.

::

    blobs/sha256/ab/<hex>
    actions/<step>/<key>.json
    failures/<step>/<key>.json
    runs/<run>/<file>
    releases/<digest>.json
    channels/<name>/<sequence>.json     signed entries; and head.json, a hint where to look
    trust/<version>.root.json           who signs
    provenance/<release>.json           where a release comes from
    quarantine/<hex>.<unique>           damaged blobs, kept for a look
    leases/<run>.json                   runs at work                       (see keeping)
    pins/<name>.json                    what a person keeps from gc        (see retention)
    gc/<mark>/…                         what gc means to remove, and how far it is
    gc/seen/<run>.<beat>.json           when gc first saw a lease as it is

Names use characters that mean the same on every file system and in every S3 server. No name can
leave the store's root. Raises UsageError for what people type (channels, runs), StoreError for the
rest, which comes from a record or a program.
"""

import functools
import re

from tidemill.digest import is_digest
from tidemill.errors import StoreError, UsageError

ROOMS = (
    "blobs",
    "actions",
    "failures",
    "runs",
    "releases",
    "channels",
    "trust",
    "provenance",
    "quarantine",
    "leases",
    "pins",
    "gc",
)
SEEN = "gc/seen"
SEQUENCE_DIGITS = 8
LONGEST_NAME = 1024  # S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
LONGEST_SEGMENT = 255  # NAME_MAX of the common file systems

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@,-]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENTRY_FILE = re.compile(rf"(\d{{{SEQUENCE_DIGITS}}})\.json", re.ASCII)


def check_name(name: str) -> str:
    """``name`` itself, when it may name an object. Raises StoreError."""
    segments = name.split("/")
    if (
        len(segments) < 2  # noqa: PLR2004 - a room and something in it
        or segments[0] not in ROOMS
        or len(name) > LONGEST_NAME
        or not all(_is_segment(segment) for segment in segments)
    ):
        raise StoreError(f"{name!r} cannot be a name in a store")
    return name


def check_prefix(prefix: str) -> str:
    """A folder to list, without its final slash; "" stays "". Raises StoreError."""
    folder = prefix.removesuffix("/")
    segments = folder.split("/")
    if prefix and (segments[0] not in ROOMS or not all(map(_is_segment, segments))):
        raise StoreError(f"{prefix!r} cannot be a folder in a store")
    return folder


def _is_segment(text: str) -> bool:
    return len(text) <= LONGEST_SEGMENT and _SEGMENT.fullmatch(text) is not None


def check_digest(text: str) -> str:
    """``text`` itself, when it is a digest: it may be part of a path. Raises StoreError."""
    if not is_digest(text):
        raise StoreError(f"{text!r} is not a sha256 in lower-case hexadecimal digits")
    return text


def blob_name(digest: str) -> str:
    """``blobs/sha256/ab/<hex>``; 256 folders keep listings and file systems quick."""
    return f"blobs/sha256/{check_digest(digest)[:2]}/{digest}"


def action_name(step: str, key: str) -> str:
    """The record of an action that succeeded."""
    return f"{_step_folder('actions', step)}/{check_digest(key)}.json"


def failure_name(step: str, key: str) -> str:
    """The record of an action that failed: beside, never as, a result."""
    return f"{_step_folder('failures', step)}/{check_digest(key)}.json"


@functools.cache
def _step_folder(room: str, step: str) -> str:
    return check_name(f"{room}/{step}")


def release_name(digest: str) -> str:
    """A release, named by the sha256 of its own bytes."""
    return f"releases/{check_digest(digest)}.json"


def run_name(run: str, file: str) -> str:
    """A file of one run; ``file`` may have folders. Raises UsageError for a run that cannot be."""
    return check_name(f"runs/{_word(run, 'a run')}/{file}")


def channel_folder(channel: str) -> str:
    """The folder of a channel's entries. Raises UsageError for a name that cannot be one."""
    return f"channels/{_word(channel, 'a channel')}"


def channel_name(channel: str, sequence: int) -> str:
    """One entry of a channel; eight digits, so that names sort as numbers do."""
    if not 0 < sequence < 10**SEQUENCE_DIGITS:
        raise StoreError(f"a channel has no sequence {sequence}")
    return f"{channel_folder(channel)}/{sequence:0{SEQUENCE_DIGITS}}.json"


def hint_name(channel: str) -> str:
    """Where a channel's head may be looked for, for readers that cannot list. No promise."""
    return f"{channel_folder(channel)}/head.json"


def provenance_name(release: str) -> str:
    """The signed statement about a release."""
    return f"provenance/{check_digest(release)}.json"


def root_name(version: int) -> str:
    """A version of the root: which keys sign the channels of this store."""
    return f"trust/{version}.root.json"


def sequence_of(name: str) -> int | None:
    """The sequence that ``channel_name`` put into ``name``; None for another file."""
    found = _ENTRY_FILE.fullmatch(name.rpartition("/")[2])
    return int(found[1]) if found else None


def lease_name(run: str) -> str:
    """The lease of a run at work."""
    return f"leases/{_word(run, 'a run')}.json"


def seen_name(run: str, beat: str) -> str:
    """When gc first saw the lease of a run at this beat."""
    return f"{SEEN}/{_word(run, 'a run')}.{beat}.json"


def pin_name(name: str) -> str:
    """A pin. Raises UsageError for a name that cannot be one."""
    return f"pins/{_word(name, 'a pin')}.json"


def mark_folder(mark: str) -> str:
    """Everything that belongs to one mark lies in one folder: see ADR 13 for why."""
    return check_prefix(f"gc/{mark}")


def mark_name(mark: str) -> str:
    """What one gc means to remove. It is open while this is there."""
    return check_name(f"gc/{mark}/mark.json")


def kept_name(mark: str, digest: str) -> str:
    """Somebody relies on a blob that a mark names: it stays."""
    return check_name(f"gc/{mark}/kept-{check_digest(digest)}.json")


def window_name(mark: str, number: int, *, ended: bool = False) -> str:
    """The beginning, or the end, of a time in which blobs of a mark are removed."""
    return check_name(f"gc/{mark}/window-{number:0{SEQUENCE_DIGITS}}{'-ended' * ended}.json")


def short(digest: str) -> str:
    """A digest for people: enough digits to tell blobs apart in a message."""
    return f"{digest[:12]}…"


def _word(text: str, what: str) -> str:
    if not _WORD.fullmatch(text):
        raise UsageError(
            f"{text!r} cannot be the name of {what}",
            hint="use letters, digits, '.', '_' and '-', at most 100, a letter or digit first",
        )
    return text
