"""The reading commands on a plain web server, which cannot list."""

from pathlib import Path

import pytest

from tests.web_server import running_web
from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain


def test_a_channel_that_is_named_is_read_and_verified_there(built: Workbench) -> None:
    with running_web(built.store) as web:
        given = ("--channel", "small", "--store", web.url)
        there = built.call("ls", *given, "--json").json
        assert there == built.call("ls", "--channel", "small", "--json").json
        assert "verdict" in built.call("show", "tiny", *given).out
        assert built.call("verify", *given, "--json").json["bad"] == []


def test_a_head_that_has_moved_on_is_found_though_the_hint_is_old(
    built: Workbench, tmp_path: Path
) -> None:
    hint = built.store / "channels/small/head.json"
    before = hint.read_bytes()
    built.call("channel", "sign", "--reason", "again")
    hint.write_bytes(before)
    pull = ("pull", "tiny", "--channel", "small", "--to", str(tmp_path / "out"))
    with running_web(built.store) as web:
        assert "(sequence 2)" in built.call(*pull, "--store", web.url).out
        hint.unlink()
        assert "(sequence 2)" in built.call(*pull, "--store", web.url).out


def test_without_a_channel_s_name_it_says_that_it_cannot_list(built: Workbench) -> None:
    with running_web(built.store) as web:
        told = built.call("ls", "--store", web.url, expect=5).err
    assert "cannot list" in told
