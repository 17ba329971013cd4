"""Text and values of other people's files, as they may stand in a message."""

from __future__ import annotations

import re
import reprlib
import unicodedata

MAX_SHOWN = 200  # characters of a value

# of Unicode's control and format characters, what reorders text or moves a terminal's cursor
_HARMLESS = "\u200c\u200d"  # joiners are part of words
_UNUSUAL = re.compile(r"[^ -~\n\t]")


def printable(text: str) -> str:
    r"""`text` with characters that a terminal would obey written out, as in Python.

    >>> printable("red \x1b[31m")
    'red \\x1b[31m'
    """
    return _UNUSUAL.sub(lambda found: _printed(found[0]), text)


def shown(value: object) -> str:
    """A value in a message: short, however large it is.

    >>> shown([{"mean": 16 ** 5000}])
    "[{'mean': a number of 20001 bits}]"
    """
    text = _SHORT.repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _printed(character: str) -> str:
    if character in _HARMLESS or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    return character.encode("unicode_escape").decode("ascii")


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out one of over 4,300 digits
        if x.bit_length() > 256:
            return f"a number of {x.bit_length()} bits"
        return repr(x)


_SHORT = _Short()
_SHORT.maxstring = 160  # an op key has about 110
