"""What chat and mail programs act on in bare text: text comes in, and goes out so that they leave it alone.

Nothing switches this off, neither entities nor backslashes: a program that sees `http://evil` or `@here` in what
it shows makes a link or a mention of it by itself.
"""

from __future__ import annotations

import re

# The two slashes of an address, each dot of a host's name (evil.com, joe@evil.com), and the mark of a mention. With www
# it stands before the dot, too: some take www. with anything behind it, and browsers ignore a joiner in an address.
_AUTOMATIC = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=\w\.)(?=[^\W\d_])|(?<=@)(?=\w)", re.IGNORECASE)

JOINER = "\u2060"
"""Unicode's word joiner: it has no width and breaks no line, and no address or name goes on behind it."""


def tamed(text: str) -> str:
    """Return text that reads the same, with no address, name of a host or mention that a program would find."""
    return _AUTOMATIC.sub(JOINER, text)
