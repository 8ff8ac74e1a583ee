"""Images, pages and sounds, by the providers' own examples and by damaged bytes."""

import io
import struct
import wave
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.budget.media import (
    audio_tokens,
    dimensions,
    image_tokens,
    kind_of,
    pages,
    pdf_tokens,
)


def png(width, height):
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0"


def gif(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"


def jpeg(width, height):
    """A JPEG whose EXIF segment holds a thumbnail of 1 x 1."""
    frame = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 1, 1)
    exif = b"\xff\xe1" + struct.pack(">H", len(frame) + 2) + frame
    real = b"\xff\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + b"\x03" + b"\0" * 9
    return b"\xff\xd8" + exif + real


def webp(form, width, height):
    inner = {
        b"VP8X": b"\0\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3],
        b"VP8 ": b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height),
        b"VP8L": b"\x2f" + struct.pack("<I", (height - 1) << 14 | (width - 1)) + b"\0" * 9,
    }[form]
    return b"RIFF\0\0\0\0WEBP" + form + b"\0\0\0\0" + inner


@pytest.mark.parametrize(
    "image",
    [
        png(640, 481),
        gif(640, 481),
        jpeg(640, 481),
        webp(b"VP8X", 640, 481),
        webp(b"VP8 ", 640, 481),
        webp(b"VP8L", 640, 481),
    ],
)
def test_dimensions_are_read_from_the_header(image):
    assert dimensions(image) == (640, 481)
    for length in range(len(image)):
        assert dimensions(image[:length]) in (None, (640, 481))


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8", b"GIF89a", b"RIFF____WEBPVP8L"]))
def test_bytes_that_are_no_image_raise_nothing(data, start):
    size = dimensions(start + data)
    assert size is None or min(size) > 0
    tokens = audio_tokens(start + data)
    assert tokens is None or tokens > 0
    assert kind_of("image/png", start + data) in ("image", "other", "pdf")


@pytest.mark.parametrize(
    ("family", "model", "width", "height", "tokens"),
    [
        # The examples of OpenAI's guide, and what others were billed.
        ("openai", "gpt-4o", 1024, 1024, 765),
        ("openai", "gpt-4o", 2048, 4096, 1105),
        ("openai", "gpt-4o-mini", 1024, 1024, 25501),
        ("openai", "gpt-4.1-mini", 1024, 1024, 1659),
        ("openai", "gpt-4.1-mini", 4000, 1474, 2489),
        ("openai", "gpt-5.5", 3000, 3000, 10604),
        # Anthropic's: 1.59 megapixels are about 1,590 tokens.
        ("anthropic", "claude-sonnet-4-5", 1092, 1092, 1590),
        ("anthropic", "claude-sonnet-4-5", 8000, 8000, 1640),
        ("anthropic", "claude-opus-4-8", 8000, 8000, 4784),
        # Google's: 960 x 540 is six tiles.
        ("gemini", "gemini-2.5-flash", 960, 540, 6 * 258),
        ("gemini", "gemini-2.5-flash", 300, 300, 258),
        ("gemini", "gemini-3-flash", 300, 300, 2240),
        ("", "qwen2.5-vl", 280, 280, 4096),
    ],
)
def test_an_image_has_the_tokens_that_its_maker_documents(family, model, width, height, tokens):
    assert image_tokens(family, model, png(width, height)) == tokens


def test_an_image_without_dimensions_has_no_bound():
    assert image_tokens("openai", "gpt-4o", b"BM") is None
    assert image_tokens("openai", "gpt-4o", png(0, 9)) is None


def test_pages_are_counted_in_the_file_and_in_what_is_packed_in_it():
    plain = (
        b"%PDF-1.4\n1 0 obj<</Type /Pages /Count 2>>\n2 0 obj<</Type/Page>>\n3 0 obj<</Type /Page>>"
    )
    assert pages(plain) == 2
    packed = b"4 0 obj<</Type/ObjStm>>stream\r\n" + zlib.compress(b"<</Type/Page>>" * 5)
    assert pages(plain + packed) == 7
    assert pages(b"%PDF-1.7 stream\n" + zlib.compress(b"<</Type/Pages/Count 40>>")) == 40
    assert pages(b"%PDF-1.7 stream\nnot packed") is None


def test_a_pdf_without_pages_to_count_is_bounded_by_its_size():
    assert pdf_tokens("claude-sonnet-4-5", b"%PDF" + b"x" * 996) == 1000
    assert pdf_tokens("gpt-4o", b"%PDF<</Type/Page>>") == 10_784
    assert pdf_tokens("gpt-4o-mini", b"%PDF<</Type/Page>>") == 54_169


def test_what_is_packed_too_far_is_bounded_by_size():
    bomb = b"%PDF stream\n" + zlib.compress(b"\0" * (17 << 20))
    assert pages(bomb) is None


def test_a_sound_is_bounded_by_its_duration():
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"\0" * 320_000)
    assert audio_tokens(file.getvalue()) == 12 * 32
    assert audio_tokens(b"ID3" + b"\0" * 9_997) == 11 * 32
    assert audio_tokens(b"OggS" + b"\0" * 100) is None


@pytest.mark.parametrize(
    ("named", "data", "kind"),
    [
        ("image/png", png(1, 1), "image"),
        ("application/octet-stream", png(1, 1), "image"),
        ("video/mp4", png(1, 1), "other"),
        ("image/png", b"%PDF", "pdf"),
        ("application/pdf", b"PK", "other"),
        ("text/plain; charset=utf-8", b"a", "text"),
        ("application/json", b"{}", "text"),
        ("audio/mpeg", b"", "audio"),
        ("", b"", "other"),
    ],
)
def test_what_it_is_is_told_by_its_bytes_before_its_name(named, data, kind):
    assert kind_of(named, data) == kind
