"""How long to wait before trying again. Pure: the random part is an argument.

Doubles from a first pause up to a longest one, and spreads clients so that a restarted server does
not meet all of them in the same moment.
"""


class Backoff:
    def __init__(self, first: float = 0.1, longest: float = 10.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self, random: float) -> float:
        """Seconds until the next attempt: between half and the whole of the present step."""
        step = self._next
        self._next = min(step * 2, self._longest)
        return step / 2 + step / 2 * random

    def reset(self) -> None:
        """Begins anew: the last attempt went well."""
        self._next = self._first
