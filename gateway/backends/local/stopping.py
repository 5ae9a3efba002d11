"""Stop strings in a stream of text: found across pieces, and never let out."""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """Holds back as much of the text as could still become a stop string."""

    def __init__(self, stop: Sequence[str], until: str | None = None) -> None:
        """From the text `until` on everything is let out: what it begins is not to be cut."""
        self._stop = tuple(stop)
        self._until = until
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Take a piece of text; the part that may be shown now."""
        if self.stopped:
            return ""
        if not self._stop:
            return text
        self._held += text
        begun = -1 if self._until is None else self._held.find(self._until)
        # What may still become that text is looked at once it is known that it doesn't.
        undecided = overlap(self._held, self._until) if self._until is not None else 0
        end = begun if begun >= 0 else len(self._held) - undecided
        found = self._found(self._held[:end])
        if found is not None:
            self.stopped = True
            shown, self._held = self._held[:found], ""
            return shown
        if begun >= 0:
            self._stop = ()
            shown, self._held = self._held, ""
            return shown
        perhaps = self._found(self._held) if undecided else None
        keep = max(undecided, *(overlap(self._held, stop) for stop in self._stop))
        cut = len(self._held) - keep if perhaps is None else min(perhaps, len(self._held) - keep)
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def _found(self, text: str) -> int | None:
        """Where the stop string begins that was complete first, however the text was cut."""
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def flush(self) -> str:
        """What was held back, once no more text will come."""
        self._until = None
        shown = self.push("")
        rest, self._held = self._held, ""
        return shown if self.stopped else shown + rest


def overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a proper beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
