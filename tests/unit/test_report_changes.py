"""What changed, as the reports show it: the words, the summary, the page."""

import msgspec

from tests.reports import HOSTILE, digest_of, sample_report
from tidemill.records import ArtifactChange, Difference, ReleaseDiff
from tidemill.report.changes import change_rows, in_short, title, tool_lines, unknown_line
from tidemill.report.html import page
from tidemill.report.markdown import job_summary

BEFORE, AFTER = digest_of("before"), digest_of("after")
SAME = ReleaseDiff(before=AFTER, after=AFTER, unchanged=42)


def difference(name: str, was: str | float | None, now: str | float | None) -> Difference:
    return Difference(name=name, was=was, now=now)


def change(address: str, kind: str, *differences: Difference, **fields: object) -> ArtifactChange:
    made = ArtifactChange(
        address=address, kind=kind, file=f"{address}/{fields.get('file', 'f')}", change="changed",
        differences=differences,
    )  # fmt: skip
    return msgspec.structs.replace(
        made, **{name: value for name, value in fields.items() if name != "file"}
    )


CHANGED = ReleaseDiff(
    before=BEFORE,
    after=AFTER,
    tools=(difference("torch", "2.12", "2.13"), difference("onnx", None, "1.20")),
    artifacts=(
        change(
            "minilm/encoder/f16/cpu",
            "vmfb",
            difference("digest", "a" * 64, "b" * 64),
            difference("size", 1_200_000, 900_000),
            difference("status", "unvalidated", "validated"),
            difference("flags", "--level=O2", "--level=O3 --new"),
            difference("dispatch_count", 172, 170),
            difference("transient_bytes", 4_000_000, None),
            difference("max_abs", 2e-7, 3.5e-7),
            difference("cosine", 0.9999999, 0.9999998),
            causes=("flags", "tool torch"),
        ),
        change("minilm/encoder/f16", "reference", difference("size", 10, 20), file="a"),
        change("minilm/encoder/f16", "reference", difference("size", 30, 60), file="b"),
        change("old/net/f32/cpu", "vmfb", difference("size", 5000, None), change="removed"),
    ),
    unchanged=40,
    unknown=("x/model.mlir",),
)


def test_that_nothing_changed_is_one_line() -> None:
    assert in_short(SAME) == f"Nothing changed: it is the same release {AFTER[:12]}."
    assert change_rows(SAME) == ()
    assert tool_lines(SAME) == []
    assert unknown_line(SAME) == ""


FILES = "1 removed, 1 changed, 2 made anew with the same bytes, 40 as before"


def test_how_much_changed_is_told_in_short() -> None:
    assert in_short(CHANGED) == f"Files: {FILES}; 2 versions changed."
    assert title(CHANGED) == f"from release {BEFORE[:12]} to {AFTER[:12]}"
    assert tool_lines(CHANGED) == ["torch 2.12 → 2.13", "onnx none → 1.20"]
    assert unknown_line(CHANGED) == (
        "The records of 1 file are not there any more, so flags, dispatch counts and causes are"
        " not told: x/model.mlir"
    )


def test_another_release_with_the_same_files_says_so() -> None:
    again = ReleaseDiff(before=BEFORE, after=AFTER, unchanged=3)
    assert in_short(again) == "Files: no files changed, 3 as before."


def added(address: str, kind: str, *names: str) -> ArtifactChange:
    return change(
        address, kind, *(difference(name, None, "a" * 64) for name in names), change="added"
    )


FIRST = ReleaseDiff(
    before="",
    after=AFTER,
    tools=(difference("torch", None, "2.13"),),
    artifacts=(added("m/net/f32", "mlir", "digest"), added("m/net/f32/cpu", "vmfb", "digest")),
)


def test_a_first_release_says_so_in_one_line_without_rows() -> None:
    assert title(FIRST) == f"the first release, {AFTER[:12]}"
    assert in_short(FIRST) == "First release of the channel: 2 artifacts."
    assert tool_lines(FIRST) == []
    assert change_rows(FIRST) == ()
    report = sample_report(changes=FIRST)
    assert "\n\nFirst release of the channel: 2 artifacts.\n\n" in job_summary(report)
    assert "| artifact | kind |" not in job_summary(report)
    assert "<p>First release of the channel: 2 artifacts.</p>" in page(report)
    assert "added" not in page(report).partition('id="matrix"')[0].partition("</style>")[2]


def test_a_first_release_counts_apart_what_could_not_be_made() -> None:
    lost = msgspec.structs.replace(
        FIRST, artifacts=(*FIRST.artifacts, added("m/net/f16/cpu", "vmfb", "status"))
    )
    assert in_short(lost) == "First release of the channel: 2 artifacts, 1 not made."


def test_a_row_tells_sizes_with_their_ratio_and_the_rest_in_words() -> None:
    reference, module, removed = change_rows(CHANGED)
    assert module.size == "1.2 MB → 900 kB (0.75)"
    assert module.status == "unvalidated → validated"
    assert module.digest == f"{'a' * 12} → {'b' * 12}"
    assert module.details == (
        "flags without --level=O2; with --level=O3 --new",
        "dispatches 172 → 170",
        "transient memory 4.0 MB → none",
        "max abs 2e-07 → 3.5e-07",
        "cosine 0.9999999 → 0.9999998",
        "because of flags, tool torch",
    )
    assert (reference.what, reference.size) == ("changed (2 files)", "40 B → 80 B (2.00)")
    assert (removed.what, removed.size) == ("removed", "5.0 kB")


def test_the_summary_and_the_page_show_the_changes() -> None:
    report = sample_report(changes=CHANGED)
    summary, html = job_summary(report), page(report)
    assert "### Since the last release of the channel\n\nFiles: 1 removed" in summary
    assert "- torch 2.12 → 2.13\n" in summary
    assert (
        "| `minilm/encoder/f16/cpu` | vmfb | changed | 1.2 MB → 900 kB (0.75) "
        "| unvalidated → validated | flags" in summary
    )
    assert '<h2 id="h-changes">Since the last release of the channel</h2>' in html
    assert '<td class="n">1.2 MB → 900 kB (0.75)</td>' in html
    assert "<div>dispatches 172 → 170</div>" in html
    assert "<li>torch 2.12 → 2.13</li>" in html


def test_that_nothing_changed_is_shown_and_no_table() -> None:
    report = sample_report(changes=SAME)
    title_and_line = f"### Since the last release of the channel\n\n{in_short(SAME)}\n\n"
    assert title_and_line in job_summary(report)
    assert "| artifact | kind |" not in job_summary(report)
    assert f"<p>{in_short(SAME)}</p>" in page(report)
    assert "Changes since the last release" not in page(report)


def test_a_run_that_released_nothing_has_no_such_section() -> None:
    assert "Since the last release" not in job_summary(sample_report())
    assert "Since the last release" not in page(sample_report())


def test_what_tools_chose_is_text_in_the_changes() -> None:
    evil = change(
        HOSTILE[:40], "vmfb", difference("flags", HOSTILE, None), causes=(HOSTILE,), file=HOSTILE
    )
    report = sample_report(
        changes=ReleaseDiff(
            before=BEFORE, after=AFTER, artifacts=(evil,), unknown=(HOSTILE,),
            tools=(difference(HOSTILE[:30], HOSTILE, HOSTILE),),
        )
    )  # fmt: skip
    html, summary = page(report), job_summary(report)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "\x1b" not in html + summary
    assert "\n# heading" not in summary
    assert "flags without \\</script\\>\\<script\\>alert" in summary


def test_a_summary_with_too_many_changes_says_how_many_are_left_out() -> None:
    many = tuple(change(f"m/c/v{n}/cpu", "vmfb", difference("size", 1, n)) for n in range(20_000))
    summary = job_summary(
        sample_report(changes=ReleaseDiff(before=BEFORE, after=AFTER, artifacts=many))
    )
    assert len(summary.encode()) < 1 << 20
    assert " more changes not shown: this summary is full.\n" in summary


def test_numbers_that_look_the_same_are_not_told() -> None:
    measured = (
        Difference(name="cosine", was=0.99999999991, now=0.99999999992),
        Difference(name="snr_db", was=141.4, now=137.6),
    )
    one = ArtifactChange(
        address="m/c/v/cpu", kind="vmfb", file="f", change="changed", differences=measured
    )
    (row,) = change_rows(ReleaseDiff(before="a", after="b", artifacts=(one,)))
    assert row.details == ("SNR dB 141 → 138",)
