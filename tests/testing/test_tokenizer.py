from hypothesis import given
from hypothesis import strategies as st

from tallystick.testing.tokenizer import count_tokens, encode, pieces


def test_counts_are_those_that_openai_billed_for_the_same_text():
    assert count_tokens("The capital of Mexico is Mexico City.") == 8
    assert count_tokens("What is the capital of Mexico?") == 7
    assert count_tokens("") == 0


def test_the_name_of_a_special_token_is_ordinary_text():
    assert count_tokens("<|endoftext|>") > 1


def test_a_lone_surrogate_is_counted_and_does_not_raise():
    assert count_tokens("a\ud800b") == 3


@given(st.text())
def test_pieces_make_the_text_again_and_hold_every_token(text):
    tokens = encode(text)
    made = pieces(tokens)
    assert "".join(piece.text for piece in made) == text.encode("utf-8", "replace").decode()
    assert sum(piece.tokens for piece in made) == len(tokens)
    assert all(piece.text for piece in made)


def test_tokens_that_are_parts_of_a_character_come_together():
    tokens = encode("🧠")
    assert len(tokens) == 3
    assert pieces(tokens) == (("🧠", 3),)


def test_a_character_that_was_cut_off_is_counted_and_not_shown():
    assert pieces(encode("ok 🧠")[:-1]) == (("ok", 1), (" ", 1), ("", 1))
