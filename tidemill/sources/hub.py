"""``hf:``: files of one commit of a hub repository, by huggingface_hub, over plain https.

The token comes from HF_TOKEN and from nowhere else, the server from HF_ENDPOINT. Nothing is kept
outside the work folder, and no code of a repository is ever run. A body that is cut is resumed by
the library; servers that are busy or broken are asked again with growing waits.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.digest import digest_file, is_digest
from tidemill.errors import WorkError
from tidemill.sources import TOKEN, Source
from tidemill.sources.landing import Wanted, fetch_error, host_error, mismatch, say
from tidemill.sources.retry import Patience, TransientError, persevere, retry_after

ENDPOINT = "HF_ENDPOINT"
_CHECK_ENDPOINT = f"check {ENDPOINT}: it must be a server that speaks the hub's protocol"
_BUSY = frozenset({408, 425, 429})
_SERVER_ERROR = 500
_UNAUTHORIZED, _FORBIDDEN = 401, 403

# Read once, when huggingface_hub is imported. Xet, the hub's second protocol, keeps chunks in a
# cache of its own and speaks to servers that a mirror does not have.
_SETTINGS = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where one file is asked for, and as whom. ``token`` is "" for an anonymous request."""

    source: Source
    file: Wanted
    endpoint: str | None
    token: str
    folder: Path


def download(source: Source, wanted: Sequence[Wanted], *, folder: Path, patience: Patience) -> int:
    """Land every wanted file in ``folder``; return their total size. Raises WorkError."""
    os.environ.update(_SETTINGS)
    total = 0
    for file in wanted:
        place = _Place(
            source=source,
            file=file,
            endpoint=os.environ.get(ENDPOINT) or None,
            token=os.environ.get(TOKEN, ""),
            folder=folder.with_name("hub"),
        )
        total += _land(place, folder=folder, patience=patience)
    return total


def _land(place: _Place, *, folder: Path, patience: Patience) -> int:
    source, file = place.source, place.file
    what = f"{source.text}: file {file.name}"
    size, told = persevere(lambda: _ask(place), what=what, patience=patience)
    expected = file.digest or told
    if not is_digest(expected):
        raise fetch_error(
            f"{what}: the server does not say its sha256, and none is declared",
            hint="declare the file with its sha256, as a source of its own",
        )
    say(f"{file.name}: fetching {'?' if size is None else size} bytes of {file.path}")
    path = persevere(lambda: _fetch(place), what=what, patience=patience)
    got = digest_file(path)
    if got != expected:
        path.unlink()
        raise mismatch(f"file {file.name}", expected=expected, got=got)
    target = folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    say(f"{file.name}: {target.stat().st_size} bytes, sha256 {got}")
    return target.stat().st_size


def _ask(place: _Place) -> tuple[int | None, str]:
    """The file's size, None where the server does not say, and its ETag, from a HEAD request.

    The ETag of a large file is its sha256 (Git LFS).

    Asked before the download because hf_hub_download hides why its own HEAD request failed.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415  after _SETTINGS

    url = hf_hub_url(
        place.source.name,
        place.file.path,
        revision=place.source.version,
        endpoint=place.endpoint,
    )
    with _told_apart(place):
        about = get_hf_file_metadata(url, token=place.token or False, endpoint=place.endpoint)
    if about.commit_hash != place.source.version:
        answer = f"commit {about.commit_hash}" if about.commit_hash else "no commit"
        raise fetch_error(
            f"{place.source.text}: the server answers with {answer}",
            hint=_CHECK_ENDPOINT,
        )
    return about.size if about.size is None else int(about.size), about.etag or ""


def _fetch(place: _Place) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415  after _SETTINGS

    with _told_apart(place):
        return Path(
            hf_hub_download(
                place.source.name,
                place.file.path,
                revision=place.source.version,
                endpoint=place.endpoint,
                token=place.token or False,
                local_dir=place.folder / "files",
                cache_dir=place.folder / "cache",
            )
        )


@contextmanager
def _told_apart(place: _Place) -> Iterator[None]:
    """Turn what the library raises into WorkError (final) or TransientError (try again)."""
    from huggingface_hub import errors  # noqa: PLC0415  after _SETTINGS

    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise _explain(error.__cause__ or error, place, errors=errors) from error
    except (errors.HTTPError, errors.FileMetadataError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _explain(error, place, errors=errors) from error


def _explain(error: BaseException, place: _Place, *, errors: Any) -> WorkError | TransientError:
    if isinstance(error, errors.GatedRepoError):
        return _gated(place)
    for kind, (message, hint) in _final(place, errors=errors).items():
        if isinstance(error, kind):
            return fetch_error(message, hint=hint)
    if isinstance(error, errors.OfflineModeIsEnabled):
        offline = f"{place.source.text}: huggingface_hub is in offline mode"
        return host_error(offline, hint="unset HF_HUB_OFFLINE")
    response = getattr(error, "response", None)
    if response is not None:
        return _refused(place, status=response.status_code, headers=response.headers)
    if isinstance(error, errors.FileMetadataError | ValueError):
        return fetch_error(f"{place.source.text}: {_line(error)}", hint=_CHECK_ENDPOINT)
    return TransientError(f"{type(error).__name__}: {_line(error)}")


def _final(place: _Place, *, errors: Any) -> dict[type[BaseException], tuple[str, str]]:
    """What is simply not there: message and hint by the library's exception."""
    name, revision = place.source.name, place.source.version
    return {
        errors.RevisionNotFoundError: (
            f"{name} has no revision {revision}",
            "take the commit sha from the repository's history",
        ),
        errors.EntryNotFoundError: (
            f"{place.source.text} has no file {place.file.path}",
            "list the files of that very commit; names are case-sensitive",
        ),
        errors.RepositoryNotFoundError: (
            f"there is no repository {name}, or it is private",
            f"check the name; for a private one set {TOKEN} to a token that can read it",
        ),
    }


def _refused(place: _Place, *, status: int, headers: Any) -> WorkError | TransientError:
    if status in _BUSY or status >= _SERVER_ERROR:
        asked = retry_after(headers.get("Retry-After"))
        return TransientError(f"the server answered {status}", asked=asked)
    name = place.source.name
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        who = f"the token in {TOKEN}" if place.token else "an anonymous request"
        return fetch_error(
            f"{name} may not be read with {who}: the server answered {status}",
            hint=f"set {TOKEN} to a valid token of an account that can read {name}",
        )
    return fetch_error(
        f"{place.source.text}: the server answered {status} for {place.file.path}",
        hint=f"see the log, and check {ENDPOINT} where it is set",
    )


def _gated(place: _Place) -> WorkError:
    name = place.source.name
    if place.token:
        return fetch_error(
            f"{name} is gated, and the owner of the token in {TOKEN} has no access to it",
            hint=f"the owner of the token must request access on the page of {name} "
            f"and wait until it is granted; or set {TOKEN} to a token of somebody who has it",
        )
    return fetch_error(
        f"{name} is gated, and {TOKEN} is not set",
        hint=f"request access on the page of {name}, then set {TOKEN} to a token of that account",
    )


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no details"])[0]
