"""Numbers in text as people and tools write them: ASCII digits, of bounded length.

`int` and `float` read more: other alphabets' digits, 1_000, blanks, nan.
"""

from __future__ import annotations

import math
import re

MOST_DIGITS = 18
WHOLE = f"[0-9]{{1,{MOST_DIGITS}}}"  # of a regular expression
_DECIMAL = re.compile(r"(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?")


def whole_number(text: str) -> int | None:
    """A count of up to 18 digits; None for anything else.

    >>> whole_number("1593600"), whole_number(""), whole_number("9" * 5000), whole_number("1_000")
    (1593600, None, None, None)
    """
    is_whole = len(text) <= MOST_DIGITS and text.isascii() and text.isdigit()
    return int(text) if is_whole else None


def port_number(text: str) -> int | None:
    """A port that something can listen on; None for anything else.

    >>> port_number("5037"), port_number("0"), port_number("65536")
    (5037, None, None)
    """
    port = whole_number(text)
    return port if port is not None and 0 < port < 2**16 else None


def decimal_number(text: str) -> float | None:
    """A finite number of at least 0; None for anything else.

    >>> decimal_number("0.035"), decimal_number("2.5e1"), decimal_number("1e309")
    (0.035, 25.0, None)
    >>> decimal_number("-1"), decimal_number("nan"), decimal_number(" 9")
    (None, None, None)
    """
    value = float(text) if _DECIMAL.fullmatch(text) else math.inf
    return value if value < math.inf else None
