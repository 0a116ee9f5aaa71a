"""The pytest plugin: what it hands to the tests of a suite, and what it says when it cannot."""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.boundaries.test_client_is_light import modules_loaded_by
from tests.unit.shop import Shop, open_shop
from tests.unit.test_client_runtime import install
from tests.web_server import Answer, Web, running_web
from tidemill.client import Resolved, lock_of, pull, samples, write_lock
from tidemill.client.open_suite import open_suite
from tidemill.errors import UsageError
from tidemill.steps.work import index
from tidemill.steps.work.dtypes import save_array

pytest_plugins = ["pytester"]

VARIANT = "minilm/encoder/f32"
CPU = f"{VARIANT}/cpu"
INPUT = np.arange(6, dtype=np.float32).reshape(2, 3)
EXPECTED = np.array([0.5, np.inf], dtype=np.float64)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """minilm/encoder/f32 has a reference with one sample, f16 has one with two."""
    shop = open_shop(tmp_path)
    shop.artifacts = [
        one for one in shop.artifacts if one.kind != "reference" or "stories" in one.address
    ]
    add_reference(shop, VARIANT, samples=("noise",))
    add_reference(shop, "minilm/encoder/f16", samples=("noise", "words"))
    shop.publish()
    return shop


def add_reference(shop: Shop, address: str, *, samples: tuple[str, ...]) -> None:
    described = []
    for name in samples:
        add(shop, address, f"{name}.input0.npy", npy(INPUT))
        add(shop, address, f"{name}.expected0.npy", npy(EXPECTED))
        given = {"name": "x", "file": f"{name}.input0.npy", "dtype": "f32", "shape": [2, 3]}
        wanted = {"name": "y", "file": f"{name}.expected0.npy", "stored": "f64", "shape": [2]}
        described.append({"name": name, "inputs": [given], "outputs": [wanted], "greedy": None})
    about = {"format": index.FORMAT, "dtype": "f32", "precision": "f64", "samples": described}
    add(shop, address, "reference.json", json.dumps(about).encode())


def add(shop: Shop, address: str, name: str, data: bytes) -> None:
    digest = shop.store.put_bytes(data)
    file = f"{address}/reference/{name}"
    shop.add(address, "reference", file=file, digest=digest, size=len(data))


def npy(array: Any) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


@pytest.fixture
def suite(pytester: pytest.Pytester, shop: Shop) -> pytest.Pytester:
    """A suite on the channel "smoke"; ``write`` gives it tests."""
    settle(pytester, shop, tidemill_channel="smoke")
    return pytester


def settle(pytester: pytest.Pytester, shop: Shop, **ini: str) -> None:
    lines = {"tidemill_store": shop.store.url, **ini}
    pytester.makeini("[pytest]\n" + "".join(f"{name} = {text}\n" for name, text in lines.items()))


def one_test(body: str, *, address: str = CPU) -> str:
    return f"""
        import pathlib, pytest

        @pytest.mark.tidemill({address!r})
        def test_it(tidemill_artifacts):
            a = tidemill_artifacts
            {body}
    """


def test_a_language_model_has_its_config_and_its_tokenizer(
    suite: pytest.Pytester, shop: Shop
) -> None:
    for kind in ("config", "tokenizer"):
        shop.add(VARIANT, kind, file=f"{VARIANT}/{kind}.json")
    shop.publish()
    suite.makepyfile(
        one_test(f"""
            assert a.config.read_bytes() == b"{VARIANT} config" * 100
            assert a.tokenizer.read_bytes() == b"{VARIANT} tokenizer" * 100
            assert (a.config.name, a.tokenizer.name) == ("config.json", "tokenizer.json")
            """)
    )
    suite.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_marked_test_gets_the_files_of_its_address(suite: pytest.Pytester, shop: Shop) -> None:
    suite.makepyfile(
        f"""
        import numpy as np, os, pytest

        @pytest.mark.tidemill("{CPU}")
        def test_all_of_it(tidemill_artifacts):
            a = tidemill_artifacts
            assert a.vmfb.read_bytes() == b"{CPU} vmfb" * 100
            assert a.mlir.read_bytes() == b"{VARIANT} mlir" * 100
            assert a.vmfb.suffix == ".vmfb"
            assert a.parameters == {{"model": a.irpa}}
            assert (a.address, a.status, a.reason) == ("{CPU}", "validated", "")
            (given,), (wanted,) = a.inputs, a.expected
            assert (given.name, given.dtype, given.shape) == ("x", "f32", (2, 3))
            assert given.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
            assert (wanted.name, wanted.dtype) == ("y", "f64")
            assert np.load(wanted).tolist() == [0.5, np.inf]
            assert os.access(a.irpa, os.R_OK)
            assert a.config is None and a.tokenizer is None

        @pytest.mark.tidemill("minilm/encoder/f16/gfx942")
        def test_an_unvalidated_one(tidemill_artifacts):
            a = tidemill_artifacts
            assert (a.status, a.reason, a.verdict) == ("unvalidated", "no such host", None)
            assert [sample.name for sample in a.samples] == ["noise", "words"]
            with pytest.raises(Exception, match="has 2 samples: noise, words"):
                a.inputs

        @pytest.mark.tidemill("{VARIANT}")
        def test_what_targets_share(tidemill_artifacts):
            assert tidemill_artifacts.vmfb is None
            assert tidemill_artifacts.mlir.is_file()

        @pytest.mark.parametrize("target", [
            pytest.param("cpu", marks=pytest.mark.tidemill("{CPU}")),
        ])
        def test_by_parameter(tidemill_artifacts, target):
            assert tidemill_artifacts.address.endswith(target)

        def test_by_name(tidemill_get):
            assert tidemill_get("{CPU}") is tidemill_get("{CPU}")
        """
    )
    suite.runpytest("--strict-markers", "--strict-config").assert_outcomes(passed=5)


def test_the_files_are_gone_after_the_run_and_the_cache_is_not(
    suite: pytest.Pytester, shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDEMILL_CACHE", str(tmp_path / "cache"))
    suite.makepyfile(one_test("pathlib.Path('where').write_text(str(a.vmfb))"))
    suite.runpytest().assert_outcomes(passed=1)
    vmfb = Path((suite.path / "where").read_text())
    assert vmfb.is_relative_to(tmp_path / "cache/sessions")
    assert not vmfb.exists()
    assert list((tmp_path / "cache/sessions").iterdir()) == []
    shop.root.rename(tmp_path / "unplugged")
    suite.runpytest("--tidemill-offline").assert_outcomes(passed=1)
    suite.makepyfile(one_test("pass", address="stories/decode/f32/cpu"))
    result = suite.runpytest("--tidemill-offline")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*offline: 5 of the files are not in the cache: *"])


LOST = "minilm/encoder/f32/gfx90a"
UNKNOWN = "minilm/encoder/f64/cpu"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (LOST, f"*cannot give what is asked for: {LOST} vmfb is missing (no compile)*"),
        (UNKNOWN, f"*nothing in channel 'smoke' (sequence 3) matches '{UNKNOWN}' (the closest*"),
    ],
    ids=["without bytes", "unknown"],
)
@pytest.mark.parametrize("policy", ["skip", "fail", ""])
def test_what_the_channel_lacks_skips_or_fails_with_the_reason(
    suite: pytest.Pytester, shop: Shop, address: str, message: str, policy: str
) -> None:
    shop.add(LOST, "vmfb", status="missing", reason="no compile", digest="", size=0)
    shop.publish()
    settle(suite, shop, tidemill_channel="smoke", tidemill_missing=policy)
    suite.makepyfile(one_test("pass", address=address))
    result = suite.runpytest("-rs")
    result.assert_outcomes(**({"skipped": 1} if policy == "skip" else {"errors": 1}))
    result.stdout.fnmatch_lines([message])
    other = suite.runpytest("--tidemill-missing=skip")
    other.assert_outcomes(skipped=1)


@pytest.mark.parametrize("address", ["minilm/*/f32/cpu", "minilm/encoder", ""])
def test_what_is_no_address_fails_whatever_the_policy(suite: pytest.Pytester, address: str) -> None:
    suite.makepyfile(one_test("pass", address=address))
    result = suite.runpytest("--tidemill-missing=skip")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{address.replace('*', '[*]')!s}* is * address*"])


@pytest.mark.parametrize(
    ("ini", "message"),
    [
        ({"tidemill_store": ""}, "no store is named (set tidemill_store*"),
        ({"tidemill_channel": ""}, "no channel is named (set tidemill_channel or tidemill_lock*"),
        ({"tidemill_channel": "nightly"}, "*has no channel 'nightly' (its channels are: smoke)"),
        ({"tidemill_lock": "absent.lock"}, "there is no lock file *absent.lock (*"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    suite: pytest.Pytester, shop: Shop, ini: Mapping[str, str], message: str
) -> None:
    settle(suite, shop, **{"tidemill_channel": "smoke", **ini})
    suite.makepyfile(one_test("pass"))
    result = suite.runpytest("--tidemill-missing=skip")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_a_fixture_without_an_address_and_a_policy_that_is_none_are_refused(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile("def test_it(tidemill_artifacts): pass")
    result = suite.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["tidemill_artifacts needs one address: *"])
    refused = suite.runpytest("--tidemill-missing=shrug")
    refused.stderr.fnmatch_lines(["*tidemill_missing is 'shrug'; it must be fail or skip"])
    assert refused.ret == pytest.ExitCode.USAGE_ERROR


def test_a_lock_says_which_release_is_tested_and_what_may_be_asked_for(
    suite: pytest.Pytester, shop: Shop, tmp_path: Path
) -> None:
    report = pull(shop.store, [CPU], to=tmp_path / "out", channel="smoke")
    lock = lock_of(report.resolved, report.copied, store=shop.store.url, patterns=[CPU], kinds=[])
    write_lock(suite.path / "tide.lock", lock)
    shop.artifacts = [one for one in shop.artifacts if one.address != CPU]
    shop.publish()
    suite.makeini("[pytest]\ntidemill_lock = tide.lock\n")
    suite.makepyfile(one_test("assert a.vmfb.is_file()"))
    suite.runpytest().assert_outcomes(passed=1)
    suite.makepyfile(one_test("pass", address="stories/decode/f32/cpu"))
    result = suite.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the lock does not have stories/decode/f32/cpu/model.verdict*"])


def test_a_module_that_the_runtime_cannot_load_is_not_handed_out(
    suite: pytest.Pytester, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("3.9.0", tmp_path / "site", monkeypatch)
    shop.tools = {"iree-base-compiler": "3.13.0"}
    shop.publish()
    suite.makepyfile(one_test("pass"))
    result = suite.runpytest("--tidemill-missing=skip")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*iree-base-runtime 3.9.0, which is installed here, is too old*"])
    settle(suite, shop, tidemill_channel="smoke", tidemill_any_runtime="true")
    suite.runpytest().assert_outcomes(passed=1)


@pytest.fixture
def web(shop: Shop) -> Iterator[Web]:
    with running_web(shop.root) as server:
        yield server


def test_a_store_that_cannot_be_opened_is_asked_once_for_all_tests(
    suite: pytest.Pytester, shop: Shop, web: Web
) -> None:
    settle(suite, shop, tidemill_store=web.url, tidemill_channel="smoke")
    for path in ("channels/smoke/head.json", "trust/1.root.json"):
        web.script(path, Answer(status=401), forever=True)
    asked = []
    for tests in (1, 3):
        web.seen.clear()
        marks = "\n".join(
            f"@pytest.mark.tidemill('{CPU}')\ndef test_{number}(tidemill_artifacts): pass"
            for number in range(tests)
        )
        suite.makepyfile(f"import pytest\n{marks}")
        result = suite.runpytest()
        result.assert_outcomes(errors=tests)
        assert result.stdout.str().count("the server asks who wants") >= tests
        asked.append(len(web.seen))
    assert asked[0] == asked[1] > 0


def test_workers_of_one_run_test_one_release_and_share_the_cache(
    suite: pytest.Pytester, shop: Shop, web: Web
) -> None:
    settle(suite, shop, tidemill_store=web.url, tidemill_channel="smoke")
    tests = "\n".join(
        f"""
@pytest.mark.tidemill("{CPU}")
def test_{number}(tidemill_artifacts, worker_id):
    written = pathlib.Path(f"{{worker_id}}.{number}")
    written.write_text(tidemill_artifacts.vmfb.read_text())
"""
        for number in range(4)
    )
    suite.makepyfile(f"import pathlib, pytest\n{tests}")
    suite.runpytest_subprocess("-n", "2", "--dist", "each").assert_outcomes(passed=8)
    written = sorted(path.name for path in suite.path.glob("gw*"))
    assert written == [f"gw{worker}.{number}" for worker in (0, 1) for number in range(4)]
    agreed = {one.path for one in web.seen if one.path.startswith("releases/")}
    assert len(agreed) == 1


def test_workers_agree_though_the_channel_moves_between_them(shop: Shop, tmp_path: Path) -> None:
    def opened(agreement: Path | None, channel: str = "smoke") -> Resolved:
        return open_suite(
            store=shop.store.url,
            channel=channel,
            lock_file=None,
            offline=False,
            any_runtime=False,
            scratch=tmp_path / "scratch",
            agreement=agreement,
            said=lambda _: None,
        ).resolved

    agreement = tmp_path / "release.json"
    first = opened(agreement)
    shop.add("stories/decode/f32/gfx942", "vmfb")
    shop.publish()
    shop.publish("nightly")
    assert opened(agreement) == first
    assert opened(None).sequence == first.sequence + 1
    with pytest.raises(UsageError) as caught:
        opened(agreement, "nightly")
    assert caught.value.message == (
        f"the workers of this run are told of different channels: 'smoke' of {shop.store.url},"
        f" and 'nightly' of {shop.store.url}"
    )


def test_bfloat16_comes_as_float32_of_the_same_values(tmp_path: Path) -> None:
    values = np.array([[1.0, -2.5], [0.0, np.inf]], dtype=np.float32)
    save_array(tmp_path / "x.npy", values, dtype="bf16")
    tensor = samples.Tensor("x", tmp_path / "x.npy", "bf16", (2, 2))
    assert tensor.numpy().dtype == np.float32
    assert tensor.numpy().tolist() == values.tolist()


def test_the_plugin_loads_nothing_before_it_is_used() -> None:
    loaded = modules_loaded_by("import pytest, tidemill.pytest_plugin")
    ours = {name for name in loaded if name.partition(".")[0] == "tidemill"}
    assert ours == {"tidemill", "tidemill.pytest_plugin"}
    tops = {name.partition(".")[0] for name in loaded - modules_loaded_by("import pytest")}
    assert tops <= {"tidemill", "logging"}


def test_what_the_reference_step_writes_is_what_suites_read() -> None:
    assert (samples.FORMAT, samples.INDEX) == (index.FORMAT, index.INDEX)
