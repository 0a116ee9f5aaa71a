"""Connections that several readers share."""

from tidemill.store.threads import Spare


def test_one_reader_may_have_them_all_and_gives_them_back() -> None:
    spare = Spare(3)
    with spare.held() as held:
        assert [held.more() for _ in range(3)] == [True, True, False]
        held.less()
        assert held.more()
    assert len(spare.left) == 3


def test_every_reader_reads_and_none_ahead_when_there_are_many() -> None:
    spare = Spare(2)
    with spare.held() as first, spare.held() as second, spare.held() as third:
        assert not any(one.more() for one in (first, second, third))
    assert len(spare.left) == 2


def test_who_ends_leaves_a_connection_to_who_goes_on() -> None:
    spare = Spare(2)
    with spare.held() as long:
        with spare.held():
            assert not long.more()
        assert long.more()
