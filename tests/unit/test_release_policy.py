"""Block, carry, drop: what happens to a channel when an artifact is not there."""

from typing import Any

import msgspec
import pytest

from tidemill.policy import Policy, apply_policy
from tidemill.records import Artifact, Release

SHARED = "tiny/encoder/f32"
CPU, GPU = f"{SHARED}/cpu", f"{SHARED}/gfx942"
REQUIRED = ("*/*/*/cpu",)
KINDS = ("irpa", "mlir", "reference")


def artifact(address: str, kind: str, **changes: Any) -> Artifact:
    one = Artifact(
        address=address,
        kind=kind,
        file=f"{address}/model.{kind}",
        digest=f"{kind} of {address}",
        size=7,
        key="new",
        status="validated",
    )
    return msgspec.structs.replace(one, **changes)


def missing(address: str, kind: str) -> Artifact:
    return artifact(address, kind, digest="", size=0, key="", status="missing", reason="it broke")


def release(*artifacts: Artifact) -> Release:
    return Release(pipeline="nightly", toolchain="default", tools={}, artifacts=artifacts)


FULL = {"holds": True, "kind": "full"}
WHY = "carried from the last release (validated there): it broke"


def shared(**changes: Any) -> list[Artifact]:
    """What the targets of the variant share, in the order of a release."""
    return [artifact(SHARED, kind, **changes) for kind in KINDS]


def target(address: str, **changes: Any) -> list[Artifact]:
    return [artifact(address, kind, verdict=FULL, **changes) for kind in ("verdict", "vmfb")]


GOOD = [*shared(), *target(CPU), artifact(GPU, "vmfb", status="unvalidated")]
LAST = release(
    *shared(key="old"),
    *target(CPU, key="old"),
    artifact(GPU, "vmfb", key="old", status="unvalidated"),
)


@pytest.mark.parametrize("on_failure", ["block", "carry", "drop"])
def test_when_all_is_there_every_policy_releases_it_as_it_is(on_failure: Any) -> None:
    policy = Policy(required=REQUIRED, on_failure=on_failure)
    assert apply_policy(GOOD, policy=policy, last_good=LAST) == (tuple(GOOD), [])


def test_block_stops_the_channel_for_a_required_artifact() -> None:
    lost = [*shared(), missing(CPU, "vmfb")]
    policy = Policy(required=REQUIRED, on_failure="block")
    kept, blocking = apply_policy(lost, policy=policy, last_good=LAST)
    assert blocking == [f"{CPU}/model.vmfb: it broke"]
    assert kept == tuple(lost)


def test_block_lets_an_artifact_go_that_is_not_required() -> None:
    lost = [*shared(), artifact(CPU, "vmfb"), missing(GPU, "vmfb")]
    policy = Policy(required=REQUIRED, on_failure="block")
    assert apply_policy(lost, policy=policy, last_good=LAST) == (tuple(lost), [])


@pytest.mark.parametrize("status", ["expected-failure", "unvalidated", "proxy"])
def test_only_what_is_missing_blocks(status: Any) -> None:
    one = artifact(CPU, "vmfb", status=status)
    policy = Policy(required=REQUIRED, on_failure="block")
    assert apply_policy([one], policy=policy, last_good=None) == ((one,), [])


def test_drop_releases_without_it_and_says_why() -> None:
    lost = [*shared(), missing(CPU, "vmfb")]
    policy = Policy(required=REQUIRED, on_failure="drop")
    assert apply_policy(lost, policy=policy, last_good=LAST) == (tuple(lost), [])


def test_a_required_address_that_no_manifest_makes_blocks_every_policy() -> None:
    for on_failure in ("block", "carry", "drop"):
        policy = Policy(required=("*/*/*/tpu",), on_failure=on_failure)
        _, blocking = apply_policy(GOOD, policy=policy, last_good=LAST)
        assert blocking == ["nothing matches the required address */*/*/tpu"]


BLOCKED = [f"{CPU}/model.vmfb: it broke"]
CARRY = Policy(required=REQUIRED, on_failure="carry")


def carry(now: list[Artifact], last: Release | None) -> list[Artifact]:
    """What is released when nothing blocks."""
    kept, blocking = apply_policy(now, policy=CARRY, last_good=last)
    assert blocking == []
    return list(kept)


def assert_not_carried(now: list[Artifact], last: Release | None) -> None:
    assert apply_policy(now, policy=CARRY, last_good=last) == (tuple(now), BLOCKED)


def test_carry_takes_all_that_the_last_release_has_of_a_target() -> None:
    carried = target(CPU, key="old", status="carried", reason=WHY)
    now = [*shared(), missing(CPU, "vmfb"), artifact(GPU, "vmfb")]
    assert carry(now, LAST) == [*shared(), *carried, artifact(GPU, "vmfb")]


def test_carry_has_nothing_to_take_at_first() -> None:
    assert_not_carried([*shared(), missing(CPU, "vmfb")], None)


@pytest.mark.parametrize("status", ["missing", "expected-failure", "unvalidated"])
def test_carry_takes_nothing_that_was_not_validated(status: Any) -> None:
    last = release(*shared(), artifact(CPU, "vmfb", status=status))
    assert_not_carried([*shared(), missing(CPU, "vmfb")], last)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["digest", "file"])
def test_a_module_is_not_carried_beside_shared_files_that_it_does_not_know(
    kind: str, field: str
) -> None:
    now = shared()
    at = KINDS.index(kind)
    now[at] = msgspec.structs.replace(now[at], **{field: f"{getattr(now[at], field)}-other"})
    assert_not_carried([*now, missing(CPU, "vmfb")], LAST)


def test_a_module_is_not_carried_beside_fewer_shared_files_than_it_was_made_with() -> None:
    assert_not_carried([*shared()[:2], missing(CPU, "vmfb")], LAST)


def test_a_module_is_not_carried_beside_an_expected_failure() -> None:
    amber = artifact(SHARED, "mlir", digest="", status="expected-failure")
    now = [shared()[0], amber, shared()[2], missing(CPU, "vmfb")]
    assert_not_carried(now, release(*now[:3], *target(CPU)))
    assert_not_carried([missing(SHARED, "irpa"), *now[1:]], LAST)


def test_a_carried_artifact_names_how_it_was_validated() -> None:
    last = release(*shared(), *target(CPU, status="proxy"))
    kept = carry([*shared(), missing(CPU, "vmfb")], last)
    assert [one.reason for one in kept[3:]] == [
        "carried from the last release (proxy there): it broke"
    ] * 2


@pytest.mark.parametrize(("kind", "former"), [("full", "validated"), ("proxy", "proxy")])
def test_what_was_carried_is_carried_again_with_its_first_key_and_a_reason_of_today(
    kind: str, former: str
) -> None:
    verdict = {"holds": True, "kind": kind}
    before = artifact(
        CPU, "vmfb", status="carried", key="older", reason="long ago", verdict=verdict
    )
    for now in (shared(), [missing(SHARED, one) for one in KINDS]):
        last = release(*shared(status="carried", reason="long ago"), before)
        kept = carry([*now, missing(CPU, "vmfb")], last)
        reason = f"carried from the last release ({former} there): it broke"
        assert kept[3:] == [msgspec.structs.replace(before, reason=reason)]
        if now[0].status == "missing":
            assert {one.reason for one in kept[:3]} == {reason}


def test_what_was_carried_without_ever_being_validated_is_not_carried_again() -> None:
    last = release(*shared(), artifact(CPU, "vmfb", status="carried", reason="long ago"))
    assert_not_carried([*shared(), missing(CPU, "vmfb")], last)


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_that_lost_a_shared_file_is_carried_as_a_whole(kind: str) -> None:
    new = {"digest": "new", "status": "unvalidated", "reason": "no target was validated"}
    now = [missing(SHARED, one) if one == kind else artifact(SHARED, one, **new) for one in KINDS]
    kept = carry([*now, missing(CPU, "vmfb"), missing(GPU, "vmfb")], LAST)
    doubt = "carried from the last release (validated there): no target was validated"
    assert kept == [
        *(
            artifact(SHARED, one, key="old", status="carried", reason=WHY if one == kind else doubt)
            for one in KINDS
        ),
        *target(CPU, key="old", status="carried", reason=WHY),
        missing(GPU, "vmfb"),
    ]


@pytest.mark.parametrize(
    "last",
    [
        release(*shared()[:2], *target(CPU)),
        release(*shared(status="unvalidated"), *target(CPU)),
    ],
    ids=["lacks a file", "was never validated"],
)
def test_nothing_of_a_variant_is_carried_when_not_all_that_it_shares_can_be(last: Release) -> None:
    assert_not_carried([*shared()[:2], missing(SHARED, "reference"), missing(CPU, "vmfb")], last)


def test_no_new_module_is_left_in_a_variant_that_is_carried() -> None:
    new = artifact(GPU, "vmfb", status="unvalidated", reason="validation was not asked for")
    kept = carry([*shared()[:2], missing(SHARED, "reference"), missing(CPU, "vmfb"), new], LAST)
    assert {one.status for one in kept[:5]} == {"carried"}
    assert kept[5] == msgspec.structs.replace(
        new,
        digest="",
        size=0,
        status="missing",
        reason="its variant is carried from the last release, where this was not validated",
    )


def test_an_expected_failure_is_not_carried_and_does_not_block() -> None:
    amber = artifact(CPU, "vmfb", digest="", size=0, status="expected-failure", reason="known")
    now = [*shared()[:2], missing(SHARED, "reference"), amber, missing(GPU, "vmfb")]
    last = release(*shared(), *target(CPU), *target(GPU))
    kept = carry(now, last)
    assert kept[3] == amber
    assert {one.status for one in (*kept[:3], *kept[4:])} == {"carried"}


def test_shared_files_that_carried_targets_vouch_for_stay_carriable() -> None:
    """So that a night without any verdict does not end a row of carried nights."""
    doubt = {"status": "unvalidated", "reason": "no target was validated"}
    tonight = carry([*shared(**doubt), missing(CPU, "vmfb")], LAST)
    reason = "carried from the last release (validated there): no target was validated"
    assert tonight[:3] == shared(key="old", status="carried", reason=reason)
    lost = [*shared()[:2], missing(SHARED, "reference"), missing(CPU, "vmfb")]
    tomorrow = carry(lost, release(*tonight))
    assert tomorrow == [
        *shared(key="old", status="carried", reason=WHY),
        *target(CPU, key="old", status="carried", reason=WHY),
    ]


def test_other_variants_are_left_as_they_are() -> None:
    other = artifact("tiny/encoder/f16", "mlir", status="unvalidated", reason="not asked for")
    kept = carry([other, *shared(), missing(CPU, "vmfb")], LAST)
    assert kept[0] == other
    assert [one.status for one in kept[1:]] == ["validated"] * 3 + ["carried"] * 2


def test_a_carried_module_keeps_the_compiler_that_made_it() -> None:
    def carried(last: Release) -> dict[str, str]:
        now = [*shared(), missing(CPU, "vmfb")]
        kept, _ = apply_policy(now, policy=Policy(on_failure="carry"), last_good=last)
        return {one.file: one.compiler for one in kept if one.status == "carried"}

    module = f"{CPU}/model.vmfb"
    verdict, vmfb = target(CPU)
    older = {"iree-base-compiler": "3.11.0"}
    said = release(*shared(), verdict, msgspec.structs.replace(vmfb, compiler="3.12.0"))
    assert carried(said)[module] == "3.12.0"
    unsaid = msgspec.structs.replace(release(*shared(), verdict, vmfb), tools=older)
    assert carried(unsaid) == {f"{CPU}/model.verdict": "", module: "3.11.0"}
    again = [msgspec.structs.replace(one, status="carried") for one in (verdict, vmfb)]
    unknown = msgspec.structs.replace(release(*shared(), *again), tools=older)
    assert carried(unknown)[module] == "", "an older release made it, which none knows"


def test_the_table_of_a_suite_is_carried_although_its_targets_share_nothing() -> None:
    suite = "onnx-backend/node/all/cpu"
    before = artifact(suite, "table", key="old", verdict=FULL)
    policy = Policy(required=REQUIRED, on_failure="carry")
    kept, blocking = apply_policy(
        [*GOOD, missing(suite, "table")], policy=policy, last_good=release(*GOOD, before)
    )
    assert blocking == []
    assert [(item.status, item.digest) for item in kept if item.address == suite] == [
        ("carried", before.digest)
    ]
