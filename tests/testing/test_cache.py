from array import array

import pytest

from tallystick.testing.cache import PromptCache


def prompt(length, start=0):
    return array("I", range(start, start + length))


def test_a_prompt_below_the_threshold_is_never_cached():
    cache = PromptCache(1024)
    assert cache.use("m", prompt(1023)) == (0, 0)
    assert cache.use("m", prompt(1023)) == (0, 0)


def test_a_prefix_seen_before_is_cached_in_multiples_of_128():
    cache = PromptCache(1024)
    assert cache.use("m", prompt(1300)) == (0, 1280)
    assert cache.use("m", prompt(1300)) == (1280, 0)
    assert cache.use("m", prompt(2000)) == (1280, 640)
    assert cache.use("m", prompt(1100)) == (1024, 0)


def test_prompts_share_only_the_blocks_before_they_differ():
    cache = PromptCache(256)
    cache.use("m", prompt(1024))
    assert cache.use("m", prompt(600) + prompt(424, 9000)).cached_tokens == 512
    assert cache.use("m", prompt(1024, 1)).cached_tokens == 0


def test_a_common_prefix_below_the_threshold_is_not_cached():
    cache = PromptCache(1024)
    cache.use("m", prompt(2048))
    assert cache.use("m", prompt(896) + prompt(1000, 9000)).cached_tokens == 0


def test_models_do_not_share_a_cache():
    cache = PromptCache(128)
    cache.use("a", prompt(256))
    assert cache.use("b", prompt(256)).cached_tokens == 0
    assert cache.use("a", prompt(256)).cached_tokens == 256


def test_none_caches_nothing_and_zero_is_refused():
    cache = PromptCache(None)
    cache.use("m", prompt(5000))
    assert cache.use("m", prompt(5000)) == (0, 0)
    with pytest.raises(ValueError, match="from 1"):
        PromptCache(0)


def test_the_least_recently_used_prefix_is_forgotten():
    cache = PromptCache(128, limit=4)
    cache.use("m", prompt(256))
    cache.use("m", prompt(256, 1000))
    cache.use("m", prompt(256))
    cache.use("m", prompt(256, 2000))
    assert cache.use("m", prompt(256)).cached_tokens == 256
    assert cache.use("m", prompt(256, 1000)).cached_tokens == 0
