"""The lock parser: pure, all problems at once, an identity that comments do not change."""

from pathlib import Path

import pytest

from tidemill.errors import ManifestError, UsageError
from tidemill.toolchain.environment import complaints
from tidemill.toolchain.lock import normalise, parse_lock, read_lock
from tidemill.toolchain.pin import Resolved, parse_report, read_requirements, render

A, B, C = "a" * 64, "b" * 64, "c" * 64
TEXT = f"""# made by hand
torch==2.13.0 \\
    --hash=sha256:{B} \\
    --hash=sha256:{A}

Typing.Extensions==4.16.0 --hash=sha256:{C}  # why
"""


def test_a_lock_gives_versions_and_hashes_under_normalised_names() -> None:
    lock = parse_lock(TEXT, name="x", file="x.lock")
    assert set(lock.pins) == {"torch", "typing-extensions"}
    assert lock.pins["torch"].hashes == (B, A)
    assert lock.version("typing_extensions") == "4.16.0"


def test_comments_order_and_layout_never_change_the_digest() -> None:
    other = (
        f"typing-extensions==4.16.0 --hash=sha256:{C}\n"
        f"# new words\ntorch==2.13.0 --hash=sha256:{A} --hash=sha256:{B}"
    )
    first = parse_lock(TEXT, name="x", file="x.lock")
    assert parse_lock(other, name="y", file="y.lock").digest == first.digest


@pytest.mark.parametrize(("old", "new"), [(A, "d" * 64), ("2.13.0", "2.13.1"), ("torch", "torch2")])
def test_every_pinned_word_changes_the_digest(old: str, new: str) -> None:
    first = parse_lock(TEXT, name="x", file="x.lock")
    assert parse_lock(TEXT.replace(old, new), name="x", file="x.lock").digest != first.digest


def test_all_problems_of_a_lock_are_told_together() -> None:
    text = (
        f"torch>=2 --hash=sha256:{A}\n"
        "numpy==2.4.6\n"
        "onnx==1 --hash=md5:12\n"
        f"six==1 --hash=sha256:{A}\nsix==1 --hash=sha256:{A}\n"
        f"torch==2.13.0+cpu \\\n  --hash=sha256:{A}\n"
    )
    with pytest.raises(ManifestError) as caught:
        parse_lock(text, name="x", file="toolchains/x.lock")
    assert caught.value.message.splitlines() == [
        "toolchains/x.lock:1: expected name==version, found 'torch>=2'",
        "toolchains/x.lock:2: numpy: has no --hash",
        "toolchains/x.lock:3: onnx: expected --hash=sha256:<64 hex digits>, found '--hash=md5:12'",
        "toolchains/x.lock:5: six is pinned twice",
        "toolchains/x.lock:6: torch: leave out the local part of 2.13.0+cpu;"
        " the hashes tell builds apart",
    ]
    assert caught.value.hint == "make it anew: tidemill toolchain pin x"


def test_a_lock_without_packages_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"^x\.lock: pins no package$"):
        parse_lock("# nothing\n", name="x", file="x.lock")


def test_an_absent_lock_names_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "default.lock").write_text(TEXT)
    with pytest.raises(UsageError) as caught:
        read_lock(tmp_path / "nightly.lock")
    assert caught.value.message == f"no toolchain nightly in {tmp_path}"
    assert caught.value.hint == "known: default"


def test_a_package_that_is_not_pinned_says_how_to_add_it() -> None:
    lock = parse_lock(TEXT, name="x", file="x.lock")
    with pytest.raises(UsageError) as caught:
        lock.version("Diff_users")
    assert caught.value.message == "toolchain x pins no package diff-users"
    assert caught.value.hint == "add it to toolchains/x.in; tidemill toolchain pin x"


def test_names_are_compared_as_pep_503_says() -> None:
    assert normalise("Foo.-_Bar") == "foo-bar"


def test_a_rendered_lock_reads_back_and_does_not_depend_on_order() -> None:
    packages = [
        Resolved(name="torch", version="2.13.0+cpu", sha256=A),
        Resolved(name="numpy", version="2.4.6", sha256=C),
    ]
    text = render(packages, extra={"torch": B}, header="Made by hand")
    assert text == render(packages[::-1], extra={"torch": B}, header="Made by hand")
    assert "# torch: one hash is that of 2.13.0+cpu\n" in text
    lock = parse_lock(text, name="x", file="x.lock")
    assert lock.pins["torch"].hashes == (A, B)
    assert lock.pins["torch"].version == "2.13.0"


def test_a_lock_says_when_the_public_hash_could_not_be_had() -> None:
    packages = [Resolved(name="torch", version="2.13.0+cpu", sha256=A)]
    text = render(packages, extra={}, header="Made by hand")
    assert (
        "# torch: one hash is that of 2.13.0+cpu; the public file's hash could not be had" in text
    )


def test_a_report_gives_the_normalised_name_and_the_hash_of_each_file() -> None:
    report = (
        '{"install": [{"metadata": {"name": "ML_dtypes", "version": "0.6.0"},'
        f' "download_info": {{"archive_info": {{"hashes": {{"sha256": "{A}"}}}}}}}}]}}'
    )
    assert parse_report(report) == [Resolved(name="ml-dtypes", version="0.6.0", sha256=A)]


def test_requirements_are_the_lines_without_comments(tmp_path: Path) -> None:
    (tmp_path / "x.in").write_text("# list\ntorch==2.13.0  # pinned\n\nnumpy\n")
    wanted = read_requirements(tmp_path / "x.in")
    assert wanted.solved == ("torch==2.13.0", "numpy")
    assert wanted.alone == ()


def test_a_requirement_stands_alone_where_its_line_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.in").write_text("torch==2.13.0\nold==1.0  # no-deps: it asks for torch 1\n")
    wanted = read_requirements(tmp_path / "x.in")
    assert (wanted.solved, wanted.alone) == (("torch==2.13.0",), ("old==1.0",))


@pytest.mark.parametrize("comment", ["no-deps", "no-deps:", "no-deps:   "])
def test_a_requirement_stands_alone_for_a_reason_only(tmp_path: Path, comment: str) -> None:
    (tmp_path / "x.in").write_text(f"torch==2.13.0\nold==1.0  # {comment}\n")
    with pytest.raises(ManifestError, match=r"x.in: old==1.0 is to be taken without .* no reason"):
        read_requirements(tmp_path / "x.in")


def test_a_lock_says_which_packages_stand_alone() -> None:
    packages = [
        Resolved(name="old", version="1.0", sha256=A),
        Resolved(name="torch", version="2.13.0", sha256=B),
    ]
    text = render(packages, extra={}, alone={"old"}, header="Made by hand")
    assert parse_lock(text, name="x", file="x.lock").alone == {"old"}


def test_standing_alone_is_no_part_of_the_identity_for_it_installs_the_same() -> None:
    packages = [Resolved(name="old", version="1.0", sha256=A)]
    texts = [render(packages, extra={}, alone=alone, header="") for alone in ((), {"old"})]
    digests = {parse_lock(text, name="x", file="x.lock").digest for text in texts}
    assert len(digests) == 1


def test_a_package_that_is_not_pinned_cannot_stand_alone() -> None:
    text = f"# taken without its requirements: old\ntorch==2.13.0 --hash=sha256:{A}\n"
    with pytest.raises(ManifestError, match=r"says that old is .* but does not pin it"):
        parse_lock(text, name="x", file="x.lock")


def test_who_stands_alone_may_want_other_versions_but_must_find_its_packages() -> None:
    text = f"# taken without its requirements: old\nold==1.0 --hash=sha256:{A}\n"
    lock = parse_lock(text, name="x", file="x.lock")
    known = "old 1.0 has requirement torch==1.0, but you have torch 2.13.0."
    absent = "old 1.0 requires einops, which is not installed."
    other = "new 2.0 has requirement torch==1.0, but you have torch 2.13.0."
    assert complaints("\n".join([known, absent, other]), lock=lock) == [absent, other]


@pytest.mark.parametrize("name", ["default", "sharktank"])
def test_the_lock_of_a_toolchain_holds_what_its_list_asks_for(name: str) -> None:
    folder = Path(__file__).parents[2] / "toolchains"
    lock = read_lock(folder / f"{name}.lock")
    wanted = read_requirements(folder / f"{name}.in")
    for requirement in (*wanted.solved, *wanted.alone):
        package, _, version = requirement.partition("==")
        assert lock.version(package.partition("[")[0]) == version
    assert lock.alone == {requirement.partition("==")[0] for requirement in wanted.alone}
    assert len(lock.pins["torch"].hashes) == 2
