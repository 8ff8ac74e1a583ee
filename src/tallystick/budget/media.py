"""The most tokens that an image, a PDF, a sound or a text in base64 can be billed as.

Dimensions, pages and durations are read from the bytes themselves. The figures are the providers'
own, each named where it stands; where documentation and bills differ, the larger counts. Not
confirmed by a page are Anthropic's caps of 1,640 and 4,784 an image and its text of a PDF's page,
Gemini 3's 2,240 and OpenAI's rate of audio.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["Kind", "audio_tokens", "dimensions", "image_tokens", "kind_of", "pages", "pdf_tokens"]

Kind = str
""""image", "audio", "pdf", "text", or "other" for what cannot be bounded by its bytes."""

TEXTS: Final = frozenset(
    {"txt", "md", "csv", "html", "htm", "json", "xml", "plain", "markdown", "x-python", "yaml"}
)


def kind_of(mime_or_format: str, data: bytes) -> Kind:
    """Return what `data` is, by its first bytes, else by the type that the request gives it."""
    family, _, form = mime_or_format.lower().split(";")[0].strip().rpartition("/")
    if family == "video":
        return "other"
    if dimensions(data) is not None:
        return "image"
    if data.startswith(b"%PDF"):
        return "pdf"
    if form in TEXTS or family == "text":
        return "text"
    return "audio" if family == "audio" or form in ("wav", "mp3") else "other"


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, JPEG, GIF or WebP in pixels, or None for anything else."""
    size = _dimensions(data)
    return size if size is not None and min(size) > 0 else None


def _dimensions(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) >= 24:
        return _big(data[16:20]), _big(data[20:24])
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return _little(data[6:8]), _little(data[8:10])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    form = data[12:16]
    if form == b"VP8X":  # the canvas: two 24-bit numbers, each less one
        return _little(data[24:27]) + 1, _little(data[27:30]) + 1
    if form == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF
    if form == b"VP8L" and data[20] == 0x2F:
        bits = _little(data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Follow the segments to the frame, so that a thumbnail inside one is not taken for it."""
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(data[place + 7 : place + 9]), _big(data[place + 5 : place + 7])
        elif marker in (0xD9, 0xDA):
            return None
        elif 0xD0 <= marker <= 0xD8 or marker == 0x01:
            place += 2
        else:
            place += 2 + max(2, _big(data[place + 2 : place + 4]))
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _patches(width: int, height: int, side: int) -> int:
    return _ceil(width, side) * _ceil(height, side)


class _Vision(NamedTuple):
    """How an OpenAI model bills an image: by tiles, or by patches with a factor in hundredths."""

    base: int
    tile: int
    hundredths: int = 0
    most_patches: int = 0


# developers.openai.com/api/docs/guides/images-vision, "Calculating costs". By the first pattern
# that the model's name begins with. GPT-4.1 is billed by tiles, though the guide once said by
# patches: the larger counts. From GPT-5.2 on patches are billed 1.2-fold, and 30 images of
# 3000 x 3000 (8,836 patches) were billed 10,609 tokens each, which is what "original" detail
# allows: 10,000 patches. GPT-5-mini was seen at 1.2 where the guide says 1.62.
VISION: Final[tuple[tuple[re.Pattern[str], _Vision], ...]] = tuple(
    (re.compile(pattern), vision)
    for pattern, vision in (
        (r"gpt-4o-mini", _Vision(2833, 5667)),
        (r"(chatgpt-)?gpt-4o|chatgpt-4o|gpt-4-turbo|gpt-4-vision|gpt-4\.5", _Vision(85, 170)),
        (r"gpt-4\.1-mini", _Vision(0, 0, 162, 1536)),
        (r"gpt-4\.1-nano", _Vision(0, 0, 246, 1536)),
        (r"gpt-4\.1", _Vision(85, 170, 100, 1536)),
        (r"o4-mini", _Vision(0, 0, 172, 1536)),
        (r"o1|o3", _Vision(75, 150)),
        (r"computer-use", _Vision(65, 129)),
        (r"gpt-5-mini", _Vision(0, 0, 162, 1536)),
        (r"gpt-5-nano", _Vision(0, 0, 246, 1536)),
        (r"gpt-5(-2025|-chat|-codex|$)|gpt-5\.1(-2|-chat|-codex|$)", _Vision(70, 140, 120, 1536)),
        (r".*nano", _Vision(85, 170, 246, 10_000)),
        (r".*mini", _Vision(85, 170, 172, 10_000)),
        (r"", _Vision(85, 170, 120, 10_000)),
    )
)


def _openai_image(model: str, width: int, height: int) -> int:
    vision = next(vision for pattern, vision in VISION if pattern.match(model))
    # Scaled into 2048 x 2048, then to a shorter side of 768, and cut into tiles of 512.
    longer, shorter = max(width, height), min(width, height)
    if longer > 2048:
        shorter, longer = _ceil(shorter * 2048, longer), 2048
    if shorter > 768:
        longer, shorter = _ceil(longer * 768, shorter), 768
    tiled = vision.base + vision.tile * _patches(longer, shorter, 512)
    patches = min(_patches(width, height, 32), vision.most_patches)
    return max(tiled, _ceil(patches * vision.hundredths, 100))


def _anthropic_image(model: str, width: int, height: int) -> int:
    # platform.claude.com/docs/en/build-with-claude/vision: width x height / 750, scaled to at
    # most 1,568 pixels and about 1,600 tokens; from Claude Opus 4.7 on 2,576 pixels and 4,784
    # tokens. Which model comes next is not known, so only the models before have the lower cap.
    before = re.search(r"claude-(2|3|(opus|sonnet|haiku)-4(-[0-6]\b|-2025|[@:]|$))", model)
    cap = 1_640 if before else 4_784
    return min(max(_ceil(width * height, 750), _patches(width, height, 28)), cap)


def _gemini_image(model: str, width: int, height: int) -> int:
    # ai.google.dev/gemini-api/docs/tokens: 258 tokens up to 384 x 384, else tiles of 258, whose
    # side is two thirds of the shorter side, between 256 and 768. From Gemini 3 on (.../docs/
    # media-resolution) 1,120 tokens, and 2,240 with ultra_high.
    side = min(max(min(width, height) * 2 // 3, 256), 768)
    tiled = 258 * (1 if max(width, height) <= 384 else _patches(width, height, side))
    return tiled if re.search(r"gemini-[12]", model) else max(tiled, 2_240)


def _any_image(_model: str, width: int, height: int) -> int:
    # Patches of 14 pixels and a token at the end of each row are the finest that open models
    # read; some (LLaVA-NeXT, Llama 4) cut small images into a fixed number of up to 4,000.
    return max(_patches(width, height, 14) + _ceil(height, 14), 4_096)


def image_tokens(family: str, model: str, data: bytes) -> int | None:
    """Return the most tokens of an image, or None where its dimensions cannot be read.

    Args:
        family: "openai", "anthropic" or "gemini", whose rules are known; any other for the
            finest rule of the open models.
        model: the model's name in lower case, without the provider's prefix.
        data: the image.
    """
    size = dimensions(data)
    if size is None:
        return None
    rules: dict[str, Callable[[str, int, int], int]] = {
        "openai": _openai_image,
        "anthropic": _anthropic_image,
        "gemini": _gemini_image,
    }
    return rules.get(family, _any_image)(model, *size)


PAGE: Final = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
COUNT: Final = re.compile(rb"/Count\s+(\d{1,6})")
STREAM: Final = re.compile(rb"stream\r?\n")
MOST_INFLATED: Final = 16 * 1024 * 1024
"""More than this is not unpacked to look for pages; the file's size counts instead."""


def pages(data: bytes) -> int | None:
    """Return the most pages that a PDF can have, or None where they cannot be counted.

    Pages are counted in the file and in what is packed inside it; of that and of the counts which
    the page tree states, the larger.
    """
    found = len(PAGE.findall(data))
    stated = [int(count) for count in COUNT.findall(data)]
    left = MOST_INFLATED
    view = memoryview(data)
    for match in STREAM.finditer(data):
        try:
            inner = zlib.decompressobj().decompress(view[match.end() :], left)
        except zlib.error:
            continue  # an image, or packed in a way that holds no objects
        left -= len(inner)
        if left <= 0:
            return None
        found += len(PAGE.findall(inner))
        stated += [int(count) for count in COUNT.findall(inner)]
    if not found and not stated:
        return None  # encrypted, or nothing that we can read
    return max(found, *stated, 1)


# Anthropic (platform.claude.com/docs/en/build-with-claude/pdf-support): each page as an image
# and 1,500 to 3,000 tokens of text. OpenAI: each page's text and image. Gemini: 258 to 1,120
# tokens a page. A page of small print has more text, hence twice the 3,000.
PAGE_TEXT: Final = 6_000
PAGE_IMAGE: Final = 4_784
"""The most of any model but GPT-4o-mini: OpenAI's are at 3,780 (1,536 patches at a factor of
2.46), Anthropic's at 4,784, Gemini's at 1,120."""


def pdf_tokens(model: str, data: bytes) -> int:
    """Return the most tokens of a PDF: by its pages, else by its size in bytes."""
    count = pages(data)
    if count is None:
        return len(data)
    image = 2_833 + 8 * 5_667 if model.startswith("gpt-4o-mini") else PAGE_IMAGE
    return count * (image + PAGE_TEXT)


TOKENS_A_SECOND: Final = 32
"""Gemini's rate (ai.google.dev/gemini-api/docs/audio), the highest of those documented. OpenAI
bills 10 (developers.openai.com/api/docs/guides/realtime-costs), Voxtral reads 12.5."""

SLOWEST: Final = 1_000
"""Bytes a second: MP3's lowest rate is 8 kbit/s, and no codec of WAV is slower."""


def audio_tokens(data: bytes) -> int | None:
    """Return the most tokens of a WAV or MP3, or None for what can be silent in few bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        place = data.find(b"fmt ")
        rate = _little(data[place + 16 : place + 20]) if place > 0 else 0
        seconds = _ceil(len(data), max(rate, SLOWEST))
    elif data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] and data[1] & 0xE0 == 0xE0):
        seconds = _ceil(len(data), SLOWEST)
    else:
        return None
    return (seconds + 1) * TOKENS_A_SECOND
