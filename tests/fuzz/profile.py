"""How many examples a property gets: a few that are always the same, or FUZZ_EXAMPLES others each time."""

import os
from string import ascii_letters, digits
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: In the environment, for `make prove-fuzz`.
EXAMPLES: Final = "FUZZ_EXAMPLES"
EVERY_DAY: Final = 10

fuzzed = settings(
    max_examples=int(os.environ.get(EXAMPLES) or EVERY_DAY),
    derandomize=EXAMPLES not in os.environ,
    database=None,
    deadline=None,
    # Fixtures are made once for all examples of a property: it keeps nothing in them.
    suppress_health_check=list(HealthCheck),
)


def pieces(*parts: str, alphabet: str | None = None) -> st.SearchStrategy[str]:
    """Text that a parser takes for its own at first: parts of its grammar in any order, and anything else."""
    anything = st.text(alphabet or st.characters(codec="utf-8"), max_size=8)
    return st.lists(st.sampled_from(parts) | anything, max_size=12).map("".join)


#: Where a good text is changed, by what, and how: a token differs in each run, and choices must not.
Change = tuple[int, str, int]
changes: Final[st.SearchStrategy[Change]] = st.tuples(
    st.integers(0, 2**16), st.sampled_from(ascii_letters + digits + "-_=."), st.integers(0, 6)
)


def changed(good: str, change: Change) -> str:
    """The text with a character changed, added or taken away, cut, or twice."""
    place, other, how = change
    at = place % len(good)
    return (
        good[:at] + other + good[at + 1 :],
        good[:at] + other + good[at:],
        good[:at] + good[at + 1 :],
        good[:at],
        good[at:],
        good + good,
        good.swapcase(),
    )[how]
