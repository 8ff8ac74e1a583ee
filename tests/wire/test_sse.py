"""The server-sent events decoder, against the WHATWG specification."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.wire import sse
from tallystick.wire.sse import Event, EventDecoder


def decoded(*chunks, end=False):
    decoder = EventDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + (decoder.close() if end else [])


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("", b"a")]),
        (b"data: a\r\n\r\n", [("", b"a")]),
        (b"data: a\r\r", [("", b"a")]),
        (b"data: a\r\n\n", [("", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b"data:a\n\n", [("", b"a")]),
        (b"data:  a\n\n", [("", b" a")]),
        (b"data\n\n", [("", b"")]),
        (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
        (b"data\ndata\n\n", [("", b"\n")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [("x", b"a"), ("", b"b")]),
        (b"data: a\nevent: x\n\n", [("x", b"a")]),
        (b"event: x\n\ndata: a\n\n", [("", b"a")]),
        (b": a comment\n\ndata: a\n\n", [("", b"a")]),
        (b"id: 7\nretry: 10\nother: x\ndata: a\n\n", [("", b"a")]),
        (b"data: a\n\n\n\n\ndata: b\n\n", [("", b"a"), ("", b"b")]),
        ("data: é\u2028\x0b\x85ü\n\n".encode(), [("", "é\u2028\x0b\x85ü".encode())]),
        (b"data: cut", []),
        (b"data: cut\n", []),
        (b"", []),
    ],
)
def test_streams_decode_as_the_specification_says(stream, events):
    """Whole, and cut at each byte."""
    assert decoded(stream) == [Event(*event) for event in events]
    pieces = [stream[place : place + 1] for place in range(len(stream))]
    assert decoded(*pieces) == [Event(*event) for event in events]


def test_the_event_that_a_stream_broke_off_in_is_given_at_the_end():
    assert decoded(b"data: a\n\ndata: cut", end=True) == [Event("", b"a"), Event("", b"cut")]
    assert decoded(b"event: x\ndata: cut\n", end=True) == [Event("x", b"cut")]
    assert decoded(b"\xef\xbb\xbfdata: cut", end=True) == [Event("", b"cut")]
    assert decoded(b"data: a\n\n", end=True) == [Event("", b"a")]


def test_a_line_feed_in_the_next_chunk_belongs_to_the_carriage_return():
    assert decoded(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [Event("", b"a\nb")]
    assert decoded(b"data: a\r", b"\rdata: b\n\n") == [Event("", b"a"), Event("", b"b")]
    assert decoded(b"data: a\r", b"", b"\n\n") == [Event("", b"a")]


lines = st.one_of(
    st.sampled_from(["", "data", "data: x", "data:é", ": c", "event: e", "id: 1", "x"]),
    st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=8),
)


@given(
    st.lists(st.tuples(lines, st.sampled_from(["\n", "\r", "\r\n"])), max_size=30),
    st.integers(0, 2**32),
)
def test_cutting_a_stream_changes_nothing(parts, seed):
    stream = "".join(line + end for line, end in parts).encode()
    chance = random.Random(seed)
    chunks, place = [], 0
    while place < len(stream):
        size = chance.randint(1, 9)
        chunks.append(stream[place : place + size])
        place += size
    assert decoded(*chunks, end=True) == decoded(stream, end=True)


@pytest.mark.parametrize("piece", [7, 33, 5000])
def test_an_event_past_all_size_is_dropped_and_the_next_is_read(monkeypatch, piece):
    """Memory is bounded, whether the size is in one line or in many."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    for long in (b"data: " + b"x" * 900 + b"\n\n", b"data: xxxxxxxxxx\n" * 90 + b"\n"):
        stream = b"data: a\n\n" + long + b"event: e\ndata: b\n\n"
        decoder = EventDecoder()
        events = []
        for place in range(0, len(stream), piece):
            events += decoder.feed(stream[place : place + piece])
            kept = sum(map(len, decoder._rest)) + sum(map(len, decoder._data))
            assert kept <= 100 + piece
        assert events == [Event("", b"a"), Event("e", b"b")]
        assert decoder.dropped == 1


def test_comments_without_end_do_not_add_up(monkeypatch):
    """A stream that is only kept alive for long is no event past all size."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    decoder = EventDecoder()
    for _ in range(100):
        assert decoder.feed(b": keep") + decoder.feed(b" alive\n") == []
    assert decoder.feed(b"data: a\n\n") == [Event("", b"a")]
    assert decoder.dropped == 0
