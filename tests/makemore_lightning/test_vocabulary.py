"""Tests of Vocabulary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makemore_lightning.errors import InputError
from makemore_lightning.vocabulary import Vocabulary

NAMES = st.lists(st.text(st.characters(exclude_characters="."), min_size=1), min_size=1)


@given(NAMES)
def test_decode_inverts_encode(names: list[str]) -> None:
    vocabulary = Vocabulary.from_names(names)
    for name in names:
        assert vocabulary.decode(vocabulary.encode(name)) == name


@given(NAMES)
def test_ids_follow_code_points_after_the_dot(names: list[str]) -> None:
    vocabulary = Vocabulary.from_names(names)
    assert vocabulary.characters[0] == "."
    assert list(vocabulary.characters[1:]) == sorted(set("".join(names)))


def test_makemore_alphabet() -> None:
    vocabulary = Vocabulary.from_names(
        ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog"]
    )
    assert vocabulary.characters == ".abcdefghijklmnopqrstuvwxyz"
    assert len(vocabulary) == 27


def test_message_names_an_unknown_character() -> None:
    with pytest.raises(
        InputError, match=r"'é' of 'zoé' is not among the 4 that the model knows"
    ):
        Vocabulary(".ozx").encode("zoé")


@pytest.mark.parametrize("characters", ["", "ab.", ".aba"])
def test_malformed_vocabulary(characters: str) -> None:
    with pytest.raises(InputError, match="starts with"):
        Vocabulary(characters)
