"""Mapping between characters and ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from makemore_lightning.errors import InputError

END = "."
"""The character before and after every name; its id is 0."""


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a model, in the order of their ids; id 0 is ".", which begins and ends every name.

    Args:
        characters: All characters, "." first, without repetition.

    Raises:
        InputError: If "." is not first or a character is repeated.

    Example:
        >>> vocabulary = Vocabulary.from_names(["emma", "ava"])
        >>> vocabulary.characters
        '.aemv'
        >>> vocabulary.encode("ava")
        [1, 4, 1]
        >>> vocabulary.decode([1, 4, 1])
        'ava'
    """

    characters: str

    def __post_init__(self) -> None:
        if not self.characters.startswith(END) or len(set(self.characters)) < len(
            self.characters
        ):
            raise InputError(
                f'a vocabulary starts with "{END}" and holds each character once, got {self.characters!r}'
            )

    @classmethod
    def from_names(cls, names: Iterable[str]) -> "Vocabulary":
        """Collects the characters of `names`, sorted by code point as in makemore."""
        return cls(END + "".join(sorted(set().union(*names))))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return dict(zip(self.characters, range(len(self)), strict=True))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Returns the id of each character of `text`.

        Raises:
            InputError: If a character is not in the vocabulary.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise InputError(
                f"the character {error.args[0]!r} of {text!r} is not among the {len(self)} that the model knows: "
                f"{self.characters!r}. Leave it out, or train on names that contain it."
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text whose characters have the given ids."""
        return "".join(self.characters[i] for i in ids)
