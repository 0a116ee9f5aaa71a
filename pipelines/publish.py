"""The end of a run: artifacts → release, provenance, channel.

Trouble with the store is a problem of the run, which the report names; it is not raised.
"""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.base import Pipeline
from tidemill.channels import head, put_release, read_release
from tidemill.compare import compare
from tidemill.errors import BlobDamaged, ExitCode, StoreError, TidemillError, UsageError
from tidemill.execute import now_text
from tidemill.mill import Mill
from tidemill.moves import ChannelPinned, move
from tidemill.policy import apply_policy
from tidemill.records import Artifact, Release, ReleaseDiff
from tidemill.store.layout import release_name
from tidemill.trust.authority import signer_for
from tidemill.trust.provenance import Making, put_statement, statement_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of the channel: release and sequence are empty when it stays where it is.

    ``changes`` are those since its last release, where it points at one now.
    """

    release: str = ""
    sequence: int = 0
    problems: tuple[str, ...] = ()
    code: ExitCode = ExitCode.GOOD
    changes: ReleaseDiff | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """What a channel is moved for: the run, when it began (UTC text), and where it stood then."""

    run: str
    started_at: str
    sequence: int


def publish(
    mill: Mill, pipeline: Pipeline, *, artifacts: tuple[Artifact, ...], moving: Moving
) -> Published:
    """Write the release and move the channel, unless the policy blocks it or a person holds it."""
    try:
        before, last_good = _last_release(mill, pipeline.channel)
        kept, blocking = apply_policy(artifacts, policy=pipeline.policy, last_good=last_good)
        if not blocking:
            published = _release(mill, pipeline, artifacts=kept, moving=moving)
            return _with_changes(mill, published, before=before)
    except ChannelPinned as held:  # as a person wanted it: nothing is wrong with the run
        return Published(problems=(words_of(held),))
    except (StoreError, UsageError) as error:
        return Published(problems=(words_of(error),), code=error.exit_code)
    lost = "required artifact" if len(blocking) == 1 else "required artifacts"
    problem = (
        f"channel {pipeline.channel} stays where it is: {len(blocking)} {lost} cannot be"
        f" published: {'; '.join(blocking)}"
    )
    return Published(problems=(problem,), code=ExitCode.TOOL)


def words_of(error: TidemillError) -> str:
    """An error in one line."""
    return f"{error.message}: {error.hint}" if error.hint else error.message


def _last_release(mill: Mill, channel: str) -> tuple[str, Release | None]:
    """The release at the channel's head, by digest and in full.

    "" and None when it is damaged or gone, until the next move.
    """
    with contextlib.suppress(BlobDamaged):
        entry = head(mill.store, channel)
        if entry and mill.store.stat(release_name(entry.release)):
            return entry.release, read_release(mill.store, entry.release)
    return "", None


def _with_changes(mill: Mill, published: Published, *, before: str) -> Published:
    try:
        changes = compare(mill.store, before, published.release)
    except StoreError as error:  # the channel has moved all the same
        problem = f"what changed since the last release cannot be told: {words_of(error)}"
        return replace(published, problems=(*published.problems, problem))
    return replace(published, changes=changes)


def _release(
    mill: Mill, pipeline: Pipeline, *, artifacts: tuple[Artifact, ...], moving: Moving
) -> Published:
    signer = signer_for(mill.store, mill.workspace.state)
    release = Release(
        pipeline=pipeline.name, toolchain=mill.lock.name, tools=mill.tools, artifacts=artifacts
    )
    digest = put_release(mill.store, release)
    making = Making(
        run=moving.run,
        builder=_builder(os.environ),
        started_at=moving.started_at,
        finished_at=now_text(),
        materials=list(_materials(mill)),
    )
    statement = statement_of(release, digest, making)
    moved = move(
        mill.store,
        pipeline.channel,
        release=digest,
        expecting=moving.sequence,
        run=moving.run,
        reason=f"pipeline {pipeline.name}",
        signer=signer,
        provenance=put_statement(mill.store, digest, statement, signer=signer),
    )
    return Published(release=digest, sequence=moved.sequence)


def _builder(environment: Mapping[str, str]) -> str:
    """Who built: the workflow where there is one, else this host."""
    workflow = environment.get("GITHUB_WORKFLOW_REF")
    server = environment.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{workflow}" if workflow else f"urn:tidemill:host:{socket.gethostname()}"


def _materials(mill: Mill) -> Iterator[dict[str, Any]]:
    """What went in, as resource descriptors: the checkout, the sources, the locked packages."""
    if commit := _commit(mill):
        yield {"name": "checkout", "digest": {"gitCommit": commit}}
    for node in mill.graph.nodes.values():
        if node.stage == "fetch":
            for name, file in node.fields["files"].items():
                path = f"{node.fields['from']}#{file['path']}"
                digest = {"sha256": file["sha256"]} if file["sha256"] else {}
                yield {"name": f"{node.address}/{name}", "uri": path, "digest": digest}
    for chain in mill.toolchains.names():
        lock = mill.toolchains.lock(chain)
        yield {"name": f"toolchains/{lock.name}.lock", "digest": {"sha256": lock.digest}}
    for name, version in mill.tools.items():
        # Another toolchain's package is named with it: sharktank/torch.
        yield {"name": name, "uri": f"pkg:pypi/{name.rpartition('/')[2]}@{version}"}


def _commit(mill: Mill) -> str:
    """The commit of the checkout; "" outside of git, or when it has uncommitted changes."""
    root = str(mill.workspace.root)
    try:
        told = [
            subprocess.run(
                ["git", "-C", root, *arguments],  # noqa: S607 - the one on PATH
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return told[0] if not told[1] else ""
