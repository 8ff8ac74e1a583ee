"""Where the provider does not say how much of each modality was cached."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.pricing.rate import Rate
from tallystick.pricing.tariff import Tariff
from tallystick.usage import RequestUsage

RATES = st.integers(0, 50).map(lambda number: Rate(Fraction(number, 1000)))
UNITS = (
    "input_tokens",
    "cache_read_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "cache_audio_read_tokens",
    "cache_image_read_tokens",
    "output_tokens",
)


@settings(max_examples=200, deadline=None)
@given(
    rates=st.fixed_dictionaries(dict.fromkeys(UNITS, RATES)),
    text=st.integers(0, 9),
    audio=st.integers(0, 9),
    image=st.integers(0, 9),
    share=st.integers(0, 27),
    known=st.sampled_from([None, "audio", "image"]),
)
def test_the_estimate_is_the_dearest_way_in_which_the_counts_can_be_true(
    rates, text, audio, image, share, known
):
    """A search over every split of the cached tokens finds none dearer, and one as dear."""
    sent = text + audio + image
    cached = min(share, sent)
    tariff = Tariff(rates, rule="test", book=None)

    def cost(cached_audio, cached_image):
        cached_text = cached - cached_audio - cached_image
        if not 0 <= cached_text <= text:
            return None
        parts = {
            "input_tokens": text - cached_text,
            "cache_read_tokens": cached_text,
            "input_audio_tokens": audio - cached_audio,
            "cache_audio_read_tokens": cached_audio,
            "input_image_tokens": image - cached_image,
            "cache_image_read_tokens": cached_image,
        }
        return sum(rates[name].base * number for name, number in parts.items())

    details = {"cached_tokens": cached, "audio_tokens": audio, "image_tokens": image}
    splits = [(a, i) for a in range(audio + 1) for i in range(image + 1)]
    if known == "audio":
        # Some split that is possible, of which the provider says one half.
        splits = [split for split in splits if cost(*split) is not None]
        splits = [split for split in splits if split[0] == splits[0][0]]
        details["cached_audio_tokens"] = splits[0][0]
    if known == "image":
        splits = [split for split in splits if cost(*split) is not None]
        splits = [split for split in splits if split[1] == splits[0][1]]
        details["cached_image_tokens"] = splits[0][1]
    costs = {cost(*split) for split in splits} - {None}
    amount, reasons = tariff.price(RequestUsage(sent, 0, sent, details).record)
    assert amount == round(max(costs) * 10**9)
    if len(costs) > 1:
        assert any("did not say" in reason for reason in reasons)
    lines = tariff.lines(RequestUsage(sent, 0, sent, details).record)
    assert sum(line.quantity for line in lines) == sent
