"""Amazon's binary event stream, and JSON objects one after the other."""

import json
import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.wire import objects
from tallystick.wire.eventstream import EventStreamDecoder
from tallystick.wire.objects import ObjectDecoder
from tallystick.wire.sse import Event


def message(payload: bytes, **headers: str) -> bytes:
    block = b"\x04more\x03\x00\x05"  # A header that is a number, to be passed over.
    for name, value in headers.items():
        key = b":" + name.replace("_", "-").encode()
        block += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + block + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def cut(stream: bytes, seed: int) -> list[bytes]:
    chance, pieces = random.Random(seed), []
    while stream:
        size = chance.randint(1, 20)
        pieces.append(stream[:size])
        stream = stream[size:]
    return pieces


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(0, 99))
def test_binary_messages_decode_however_they_are_cut(payloads, seed):
    stream = b"".join(message(payload, event_type="chunk") for payload in payloads)
    decoder = EventStreamDecoder()
    events = [event for piece in cut(stream, seed) for event in decoder.feed(piece)]
    assert events == [Event("chunk", payload) for payload in payloads]
    assert not decoder.broken


def test_an_exception_is_named_by_its_type():
    decoder = EventStreamDecoder()
    stream = message(b"{}", message_type="exception", exception_type="throttlingException")
    stream += message(b"{}", message_type="error", error_code="InternalFailure")
    names = [event.name for event in decoder.feed(stream)]
    assert names == ["throttlingException", "InternalFailureException"]


@pytest.mark.parametrize("place", [0, 5, 9, 20, -1])
def test_a_wrong_checksum_or_length_ends_the_reading(place):
    """Counts of a damaged stream are not believed, and no length makes it wait for ever."""
    damaged = bytearray(message(b'{"a": 1}', event_type="metadata"))
    damaged[place] ^= 0x5A
    decoder = EventStreamDecoder()
    assert decoder.feed(bytes(damaged)) == []
    assert decoder.broken
    assert decoder.feed(message(b"{}", event_type="metadata")) == []
    assert not decoder._rest


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), values), max_size=5),
    st.sampled_from(["lines", "array", "indented"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_objects_split_however_they_are_cut(items, form, ascii_only, seed):
    if form == "lines":
        text = "\n".join(json.dumps(item, ensure_ascii=ascii_only) for item in items)
    else:
        indent = 2 if form == "indented" else None
        text = json.dumps(items, ensure_ascii=ascii_only, indent=indent)
    decoder = ObjectDecoder()
    stream = text.encode("utf-8", "surrogatepass")
    events = [event for piece in cut(stream, seed) for event in decoder.feed(piece)]
    assert [json.loads(event.data) for event in events] == json.loads(
        json.dumps(items, ensure_ascii=ascii_only)
    )


def test_quotes_and_brackets_in_text_end_no_object():
    items = [{"a": 'say "}" \\'}, {"b\\": {"c": '{"'}}, {"d": "\\\\"}]
    for text in ("\n".join(map(json.dumps, items)), json.dumps(items)):
        stream = text.encode()
        for size in (1, 2, 3, 1000):
            decoder = ObjectDecoder()
            pieces = [stream[place : place + size] for place in range(0, len(stream), size)]
            events = [event for piece in pieces for event in decoder.feed(piece)]
            assert [json.loads(event.data) for event in events] == items


def test_an_object_past_all_size_is_dropped(monkeypatch):
    monkeypatch.setattr(objects, "MAX_EVENT_BYTES", 100)
    decoder = ObjectDecoder()
    stream = b'{"a":1}{"b":"' + b"x" * 300 + b'"}{"c":3}'
    events = [event for piece in cut(stream, 1) for event in decoder.feed(piece)]
    assert [event.data for event in events] == [b'{"a":1}', b'{"c":3}']
    assert decoder.dropped == 1
