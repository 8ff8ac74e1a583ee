import json

import pytest

from tallystick.clock import Clock
from tallystick.testing import Totals, read_ledger
from tallystick.testing.generation import Billed
from tallystick.testing.served import ServedLedger


def receive(ledger, **headers):
    return ledger.receive(
        api="chat", path="/v1/chat/completions", requested_model="m", stream=False, headers=headers
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "served.jsonl"


@pytest.fixture
def ledger(path):
    ledger = ServedLedger(path, Clock())
    yield ledger
    ledger.close()


def test_a_request_is_in_the_file_before_it_is_answered(ledger, path):
    record = receive(ledger)
    assert read_ledger(path) == [record]
    assert record.state == "received"
    assert record.input_tokens is None


def test_the_file_and_the_memory_agree_in_the_order_of_arrival(ledger, path):
    first, second = receive(ledger), receive(ledger)
    ledger.finish(second.number, "completed", Billed(5, 0, 0, 2, 1), status=200)
    ledger.finish(first.number, "cut", Billed(3), status=None)
    assert read_ledger(path) == ledger.records()
    assert [record.number for record in ledger.records()] == [1, 2]
    assert [record.total_tokens for record in ledger.records()] == [3, 7]


def test_a_last_line_that_was_not_written_whole_is_left_out(ledger, path):
    record = receive(ledger)
    with path.open("ab") as file:
        file.write(json.dumps({"request_id": "req_x"}).encode()[:-4])
    assert read_ledger(path) == [record]


def test_a_broken_line_before_the_last_is_an_error(ledger, path):
    path.write_bytes(b"{nonsense\n")
    receive(ledger)
    with pytest.raises(ValueError, match="Expecting"):
        read_ledger(path)


def test_two_providers_can_follow_one_another_in_one_file(path):
    for _ in range(2):
        ledger = ServedLedger(path, Clock())
        receive(ledger)
        ledger.close()
    assert len(read_ledger(path)) == 2


def test_only_the_headers_that_tests_ask_for_are_kept(ledger):
    record = receive(
        ledger,
        **{
            "authorization": "Bearer secret",
            "x-tallystick-run": "r",
            "x-stainless-retry-count": "2",
        },
    )
    assert record.headers == {"x-tallystick-run": "r", "x-stainless-retry-count": "2"}


def test_totals_leave_out_what_is_in_progress_and_say_so(ledger):
    done, refused, _ = receive(ledger), receive(ledger), receive(ledger)
    ledger.finish(done.number, "completed", Billed(100, 64, 32, 10, 4))
    ledger.finish(refused.number, "refused", Billed())
    assert Totals.of(ledger.records()) == Totals(
        requests=3,
        billed_requests=1,
        unfinished=1,
        input_tokens=100,
        cached_tokens=64,
        cache_write_tokens=32,
        output_tokens=10,
        reasoning_tokens=4,
        total_tokens=110,
    )


def test_waiting_ends_with_the_last_request_or_in_time(ledger):
    record = receive(ledger)
    assert not ledger.wait(0.01)
    ledger.finish(record.number, "completed", Billed())
    assert ledger.wait(0)


def test_a_correction_replaces_the_record_and_is_not_counted_twice(ledger, path):
    record = receive(ledger)
    ledger.finish(record.number, "completed", Billed(3))
    ledger.finish(record.number, "abandoned", Billed(3), client_disconnected=True)
    assert [r.outcome for r in ledger.records()] == ["abandoned"]
    assert read_ledger(path) == ledger.records()
    assert ledger.wait(0)
