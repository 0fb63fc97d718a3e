"""Which connections are closed, and when: after a deadline, or to make room for another one."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ingest.server.app import _KEEP_ALIVE_S
from ingest.server.open_connections import DEADLINES_S, LIMIT, MIN_AGE_S, SHUTDOWN_S, OpenConnections, Wait
from ingest.server.request_parsing import _READ_TIMEOUT_S


class Connection:
    def __init__(self) -> None:
        self.is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True


class Service:
    """A registry with a clock to turn; `closed` lists the reasons."""

    def __init__(self, limit: int = 100) -> None:
        self.now = 1000.0
        self.closed: list[str] = []
        self.open = OpenConnections(limit, self.closed.append, lambda: self.now)

    def connect(self, wait: Wait | None) -> Connection:
        made = Connection()
        self.open.note(made, wait)
        return made


@pytest.mark.parametrize("wait", DEADLINES_S)
def test_a_connection_is_closed_at_its_deadline_and_not_before(wait: Wait) -> None:
    service = Service()
    late, ours, idle = service.connect(wait), service.connect(None), service.connect(Wait.IDLE)
    service.now += DEADLINES_S[wait] - 0.01
    service.open.note(late, wait)  # another byte arrived
    service.open.close_overdue()
    assert not late.is_dropped

    service.now += 0.02
    service.open.close_overdue()
    assert (late.is_dropped, service.closed, len(service.open)) == (True, [wait.value], 2)
    service.now += 10_000
    service.open.close_overdue()
    assert not ours.is_dropped
    assert not idle.is_dropped


def test_a_deadline_begins_again_with_the_next_request() -> None:
    service = Service()
    kept = service.connect(Wait.HEAD)
    service.now += 9
    service.open.note(kept, None)
    service.now += 9
    service.open.note(kept, Wait.HEAD)
    service.now += 9
    service.open.close_overdue()
    assert not kept.is_dropped


def test_at_the_limit_the_oldest_unfinished_head_is_closed_first_and_work_in_progress_never() -> None:
    service = Service(limit=6)
    opened = {}
    for name, wait in {
        "working": None, "answer": Wait.ANSWER, "body": Wait.BODY, "idle": Wait.IDLE, "first": Wait.HEAD,
        "second": Wait.HEAD,
    }.items():  # fmt: skip
        opened[name] = service.connect(wait)
        service.now += 1

    order = []
    for _ in range(5):
        assert service.open.make_room()
        order += [name for name, one in opened.items() if one.is_dropped and name not in order]
        service.connect(None)
    assert order == ["first", "second", "idle", "body", "answer"]
    assert service.closed == [LIMIT] * 5
    assert not service.open.make_room()
    assert not opened["working"].is_dropped


def test_below_the_limit_nothing_is_closed() -> None:
    service = Service(limit=2)
    first = service.connect(Wait.HEAD)
    service.now += 5
    assert service.open.make_room()
    assert not first.is_dropped


def test_the_deadlines_are_those_of_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
    assert "10 s for a whole head, 30 s for a body (408), 60 s to receive an answer, 75 s between requests" in page
    assert DEADLINES_S == {Wait.HEAD: 10, Wait.BODY: _READ_TIMEOUT_S + 5, Wait.ANSWER: 60}
    assert (_READ_TIMEOUT_S, _KEEP_ALIVE_S) == (30, 75)


def test_a_new_connection_has_a_moment_to_send_its_request() -> None:
    service = Service(limit=1)
    new = service.connect(Wait.HEAD)
    assert not service.open.make_room()
    service.now += 2 * MIN_AGE_S
    assert service.open.make_room()
    assert new.is_dropped


def test_during_the_shutdown_clients_have_two_seconds() -> None:
    service = Service()
    uploading, working = service.connect(Wait.BODY), service.connect(None)
    service.now += 30
    service.open.shut_down()
    service.open.close_overdue()
    assert not uploading.is_dropped
    service.now += SHUTDOWN_S
    service.open.note(working, Wait.ANSWER)
    service.open.close_overdue()
    assert (uploading.is_dropped, working.is_dropped) == (True, False)


def test_what_was_closed_is_logged_at_most_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(limit=2)
    with caplog.at_level(logging.WARNING):
        for _ in range(130):
            for _ in range(3):
                service.open.make_room()
                service.connect(Wait.HEAD)
                service.now += 0.1
            service.now += 0.7
            service.open.close_overdue()
    assert len(caplog.messages) == 3
    assert "1 made room for others, because at most 2 may be open" in caplog.messages[0]
    assert int(caplog.messages[1].split()[2]) > 170
