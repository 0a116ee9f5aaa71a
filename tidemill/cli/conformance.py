"""conformance: what passes of a suite of tests; accept what fails; the page about it."""

from pathlib import Path

import click

from tidemill.cli.output import say, workspace_of, workspace_options
from tidemill.conformance import Accepted, accept, page, read_table
from tidemill.digest import Digest
from tidemill.errors import UsageError
from tidemill.graph_suites import TABLE
from tidemill.manifest.known_yaml import known_yaml
from tidemill.manifest.load import Manifests, known_file, load_manifests
from tidemill.manifest.suites import KnownPart, Suite
from tidemill.mill import Mill
from tidemill.opening import open_mill
from tidemill.store.scratch import temporary_name
from tidemill.store.trouble import disk_error
from tidemill.workspace import Workspace

#: Between these the page stands in a document that people write.
BEGIN, END = "<!-- conformance: begin -->\n", "<!-- conformance: end -->\n"


@click.group()
def conformance() -> None:
    """Accept what fails of a suite of tests, and write the page about it."""


@conformance.command("accept")
@click.argument("suite")
@click.option("--target", default="cpu", show_default=True, help="Which table.")
@workspace_options
def accept_table(
    suite: str, *, target: str, workspace_dir: Path | None, store_url: str | None
) -> None:
    """Make manifests/conformance/SUITE/TARGET.yaml say what the table in the store says.

    Every failing test must fit a cause that somebody wrote there: class, match, reason. The file
    is written anew: comments in it, between the causes too, go. What is to stay belongs into a
    reason.
    """
    workspace = workspace_of(workspace_dir, store_url)
    mill = open_mill(workspace, models=[suite], targets=frozenset({target}))
    part = _suite(mill.manifests, suite)
    path = known_file(workspace.root, suite, target)
    data = mill.store.read_blob(_table(mill, suite, target))
    file = path.relative_to(workspace.root).as_posix()
    accepted = accept(read_table(data), part.known.get(target, KnownPart()), file=file)
    _write(path, known_yaml(accepted.known, suite=suite, target=target))
    _tell(accepted, file=file)


def _suite(manifests: Manifests, name: str) -> Suite:
    if name not in manifests.suites:
        known = ", ".join(sorted(manifests.suites)) or "none"
        raise UsageError(f"no suite '{name}' in manifests/conformance (known: {known})")
    return manifests.suites[name]


def _table(mill: Mill, suite: str, target: str) -> Digest:
    """The digest of the table that is up to date now."""
    for name, node in mill.graph.nodes.items():
        if node.stage == "conformance" and node.address.target == target:
            state = mill.states.of(name)
            made = [output for output in state.outputs if output.name == TABLE]
            if made:
                return Digest(made[0].digest)
            reason = "; ".join(state.reasons)
            raise UsageError(
                f"there is no table of {suite} on {target} that is up to date: {reason}",
                hint=f"Run it first: tidemill run nightly --model {suite} --target {target}",
            )
    raise UsageError(f"suite '{suite}' has no target '{target}'")


def _tell(accepted: Accepted, *, file: str) -> None:
    known = accepted.known
    for name in accepted.now_failing:
        say(f"now known to fail: {name}")
    for name in accepted.now_passing:
        say(f"not listed any more: {name}")
    for reason in accepted.unused:
        say(f"a cause that no test has any more is left out: {reason}")
    say(f"{file}: {known.passing} of {known.tests} tests pass")


@conformance.command("page")
@click.option("--into", type=click.Path(path_type=Path), help="Write it into this document.")
@workspace_options
def write_page(*, into: Path | None, workspace_dir: Path | None, store_url: str | None) -> None:
    """Print how many tests pass and why the others fail, from what was accepted, as Markdown."""
    workspace: Workspace = workspace_of(workspace_dir, store_url)
    text = page(load_manifests(workspace.root).suites.values())
    if into is None:
        say(text)
        return
    _write(into, with_page(into.read_text(encoding="utf-8"), text, file=str(into)))
    say(f"{into}: written")


def _write(path: Path, text: str) -> None:
    """Put ``text`` there, whole or not at all. Raises StoreError."""
    temporary = path.with_name(temporary_name())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, doing="write it", where=path) from error


def with_page(document: str, text: str, /, *, file: str) -> str:
    """``document`` with ``text`` between the two marks. Raises UsageError without them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(
            f"{file} has no place for the page", hint=f"Write {BEGIN.strip()} and {END.strip()}."
        )
    return f"{before}{BEGIN}{text}{END}{after}"
