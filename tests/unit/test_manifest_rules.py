"""Keys, types, names and sources of a manifest: one edit gives exactly the problems expected."""

import time
from pathlib import Path

import pytest

from tests.unit.edits import COMPONENT, WEIGHTS, Case, edited, problems_of, source
from tests.unit.made import MODEL, SHA
from tidemill.manifest.part import parse_size, parse_time

CASES: dict[str, Case] = {
    "nothing": ([], []),
    # Types, keys, names.
    "unknown key deep inside": (
        [("{min: 1, max: 8}", "{min: 1, max: 8, mid: 4}")],
        [f"21: {COMPONENT}.dimensions.batch.mid: unknown key (known: max, min)"],
    ),
    "not a mapping": (
        [("{min: 1, max: 8}", "8")],
        [f"21: {COMPONENT}.dimensions.batch: expected a mapping, got int 8"],
    ),
    "not a list": (
        [("dtypes: [f32, f16]", "dtypes: f32")],
        [f"22: {COMPONENT}.dtypes: expected a list, got str 'f32'"],
    ),
    "empty list": ([("dtypes: [f32, f16]", "dtypes: []")], [f"22: {COMPONENT}.dtypes: must not be"
    f" empty"]),
    "empty value": ([("license: MIT", "license:")], ["3: license: expected text, got NoneType"
    " None"]),
    "a number where text is wanted": (
        [("license: MIT", "license: 2.0")],
        ["3: license: expected text, got float 2.0"],
    ),
    "a boolean where a number is wanted": (
        [("max: 8", "max: yes")],
        [f"21: {COMPONENT}.dimensions.batch.max: expected a whole number, got bool True"],
    ),
    "a bad name as key": (
        [("  encoder:", "  Big Encoder:")],
        ["13: components.Big Encoder: 'Big Encoder' is not a name: lower-case letters, digits and"
         " . _ -"
         " between them"],
    ),
    "an input of an unknown type": (
        [("dtype: i64", "dtype: int64")],
        [f"19: {COMPONENT}.inputs.ids.dtype: unknown value 'int64' (known: 'float', 'f64', 'f32',"
         f" 'f16',"
         " 'bf16', 'i64', 'i32' or 'bool')"],
    ),
    "a shape with neither size nor name": (
        [("[batch, 64]", "[batch, 6.4]")],
        [f"19: {COMPONENT}.inputs.ids.shape[1]: expected a whole number or text, got float 6.4"],
    ),
    "an option that is a mapping": (
        [("{pooling: mean}", "{pooling: {int: 1}}")],
        [f"17: {COMPONENT}.options.pooling: expected text, a whole number, a number, true or"
         f" false, a list"
         " of whole numbers or a list of texts, got dict {'int': 1}"],
    ),
    "an option with a mixed list": (
        [("{pooling: mean}", "{pooling: [1, a]}")],
        [f"17: {COMPONENT}.options.pooling: expected text, a whole number, a number, true or"
         f" false, a list"
         " of whole numbers or a list of texts, got list [1, 'a']"],
    ),
    "a value that is shown cut": (
        [("license: MIT", f"license: [{'x' * 50}]")],
        [f"3: license: expected text, got list ['{'x' * 38}…"],
    ),
    "the python name of a key": (
        [source("pypi:tiny==1.0"), ("    from:", "    origin:")],
        ["5: sources.package.from: is missing",
         "6: sources.package.origin: unknown key (known: files, from, hub, limits, pickle, scale,"
         " sha256)"],
    ),
    "unknown scheme": (
        [source("git:tiny")],
        ["6: sources.package.from: git:tiny: unknown scheme; known ones are pypi:, npm:, hf:,"
         " file:,"
         " synthetic:"],
    ),
    "a range of versions": (
        [source("pypi:tiny>=1.0")],
        ["6: sources.package.from: pypi:tiny>=1.0: not the name of a package; expected"
         " pypi:name==version"],
    ),
    "no digest of the archive": (
        [(f"    sha256: {SHA}\n", "")],
        ["5: sources.package: a pypi: package needs the sha256 of its archive"],
    ),
    "a digest where there is no archive": (
        [source("file:tiny")],
        ["7: sources.package.sha256: a file: source has no archive; pin its files instead"],
    ),
    "a branch instead of a commit": (
        [source("hf:org/tiny@main"), (f"    sha256: {SHA}\n", "")],
        ["6: sources.package.from: hf:org/tiny@main: revision must be a commit sha of 40 hex"
         " digits, so"
         " that the bytes cannot change"],
    ),
    "a synthetic source with files": (
        [source("synthetic:seed=7"), (f"    sha256: {SHA}\n", "")],
        ["7: sources.package.files: a synthetic: source makes values, it has no files",
         f"14: {COMPONENT}.config[0]: source 'package' is synthetic: write 'package' alone",
         f"15: {COMPONENT}.weights[0]: source 'package' is synthetic: write 'package' alone"],
    ),
    "a source without files": (
        [("components:", "  more:\n    from: file:more\ncomponents:")],
        ["12: sources.more: names no files"],
    ),
    "a pickle without a reason": (
        [("model.safetensors: {path: tiny/model.safetensors", "model.pt: {path: tiny/model.pt"),
         (WEIGHTS, "weights: [package/model.pt]")],
        ["11: sources.package.files.model.pt: is a pickle, which can run code when loaded: prefer"
         " safetensors, or say why it is trusted in 'pickle:' beside 'files:'"],
    ),
    "a reason that is none": (
        [("    files:", "    pickle: trust me\n    files:")],
        ["8: sources.package.pickle: a reason is a sentence that somebody else can judge"],
    ),
    "a path upwards": (
        [("path: tiny/config.json", "path: ../x")],
        ["9: sources.package.files.config.json.path: '../x' leaves its folder: give a plain"
         " relative path"],
    ),
    "an absolute path": (
        [("path: tiny/config.json", "path: /etc/passwd")],
        ["9: sources.package.files.config.json.path: '/etc/passwd' leaves its folder: give a plain"
         " relative path"],
    ),
    "a file name upwards": (
        [("      tokenizer.json:", "      ../tokenizer.json:")],
        ["10: sources.package.files.../tokenizer.json: '../tokenizer.json' leaves its folder:"
         " give a plain"
         " relative path"],
    ),
    "a path with a dot": (
        [("path: tiny/config.json", "path: tiny/./config.json")],
        ["9: sources.package.files.config.json.path: 'tiny/./config.json' is not a plain relative"
         " path"],
    ),
    "a path with a line break": (
        [("path: tiny/config.json", 'path: "tiny/a\\nb"')],
        [r"9: sources.package.files.config.json.path: 'tiny/a\nb' is not a plain relative path"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_rule_says_where_it_hurts(tmp_path: Path, case: str) -> None:
    edits, expected = CASES[case]
    assert problems_of(tmp_path, model=edited(*edits)) == expected


def test_a_long_bad_name_is_refused_quickly(tmp_path: Path) -> None:
    name = "a" + "_a" * 60 + "!"
    begun = time.monotonic()
    found = problems_of(tmp_path, model=MODEL.replace("  encoder:", f"  {name}:"))
    assert time.monotonic() - begun < 5  # a pattern that backtracks would take years
    words = f"'{name}' is not a name: lower-case letters, digits and . _ - between them"
    assert found == [f"13: components.{name}: {words}"]


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a_b", "llama-3.1-8b", "a__b", "x.y_z-1"])
def test_names_with_separators_inside_are_names(tmp_path: Path, name: str) -> None:
    assert problems_of(tmp_path, model=MODEL.replace("  encoder:", f"  {name}:")) == []


@pytest.mark.parametrize("name", ["-a", "a-", "a--b", "A", "a b", "_a", ".a", "é", '""'])
def test_other_words_are_no_names(tmp_path: Path, name: str) -> None:
    found = problems_of(tmp_path, model=MODEL.replace("  encoder:", f"  {name}:"))
    assert len(found) == 1
    assert found[0].endswith("is not a name: lower-case letters, digits and . _ - between them")


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 512 << 20), ("4GiB", 4 << 30), ("1.5GiB", 3 << 29), ("0MiB", 0)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200)])
def test_times_are_read(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds
