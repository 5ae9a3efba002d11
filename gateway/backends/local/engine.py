"""The engine: takes submissions, keeps so many answers in progress, and says what came of each."""

from __future__ import annotations

import collections
import logging
import threading

import torch

from gateway.backends.local.batching import Batching
from gateway.backends.local.load import LoadedModel
from gateway.backends.local.network.slots import BLOCK
from gateway.backends.local.params import MOST_CHOICES
from gateway.backends.local.preparation import Preparation, Prepared
from gateway.backends.local.reply import Reply
from gateway.backends.local.submission import LAST_EVENTS, Event, Submission, error_event
from gateway.core.errors import InvalidRequest

_log = logging.getLogger(__name__)

#: How large the cache is where nobody says: in bytes, and the context that it holds at least.
_USUAL_CACHE_BYTES = 192_000_000
_USUAL_CONTEXT = 8192
#: The shortest context that is worth a start, in tokens.
_LEAST_CONTEXT = 256


class Engine:
    """One thread runs the model; `submit` may be called from any thread."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        max_concurrent: int,
        max_queue: int,
        kv_cache_mb: int | None = None,
        shares_prompts: bool = False,
    ) -> None:
        """At most `max_concurrent` answers are in progress while `max_queue` more wait.

        `kv_cache_mb` is what all their tokens and those of kept prefixes may take, in millions of
        bytes; None leaves it to `cache_tokens`. With `shares_prompts` what was read for one caller
        isn't read again for another.
        """
        tokens = cache_tokens(model, kv_cache_mb)
        # A request's choices are always written together, however few requests are.
        sequences = max(max_concurrent, MOST_CHOICES)
        #: The most tokens of one prompt and its answer.
        self.context_window = _opened(model, sequences, min(model.context_window, tokens))
        self._batching = Batching(model.network, sequences=sequences, tokens=tokens)
        self._preparation = Preparation(
            model,
            self._take,
            context_window=self.context_window,
            cache_tokens=tokens,
            shares_prompts=shares_prompts,
        )
        self._max_concurrent = max_concurrent
        self._max_inside = max_concurrent + max_queue
        self._inside = 0
        self._ready: list[Reply] = []
        self._active: list[Reply] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, submission: Submission) -> None:
        """Take a request, or refuse it at once with an `error` event when the queue is full."""
        with self._changed:
            is_full = self._inside >= self._max_inside
            self._inside += not is_full
        if is_full:
            submission.emit(error_event("queue_full", "The local model's queue is full."))
        else:
            self._preparation.begin(submission)

    def load(self) -> dict[str, int]:
        """How many answers are in progress, and how many wait."""
        with self._changed:
            active = len(self._active)
            return {"active": active, "waiting": self._inside - active}

    def _take(self, submission: Submission, prepared: Prepared) -> None:
        if isinstance(prepared, Reply):
            with self._changed:
                self._ready.append(prepared)
                self._changed.notify()
            return
        self._leave()
        if prepared is not None:
            submission.emit(prepared)

    def _run(self) -> None:
        failure: BaseException | None = None
        with torch.inference_mode():
            while True:
                try:
                    if failure is not None:
                        self._end_all(_failure(failure))
                        failure = None
                    self._admit()
                    self._round()
                except BaseException as error:  # a panic too: the next requests are to be answered
                    _log.exception("the engine failed")
                    failure = error

    def _end_all(self, event: Event) -> None:
        for reply in list(self._active):
            self._end(reply, event)

    def _admit(self) -> None:
        """Drop what was cancelled and fill the free places; wait while there is nothing to do."""
        with self._changed:
            while True:
                self._ready = [reply for reply in self._ready if not self._is_cancelled(reply)]
                self._active = [reply for reply in self._active if not self._is_cancelled(reply)]
                while self._ready and len(self._active) < self._max_concurrent:
                    if not self._begins(self._next()):
                        break
                if self._active:
                    return
                self._changed.wait()

    def _begins(self, reply: Reply) -> bool:
        """Give a request its places; False while there is too little room."""
        failure: BaseException | None = None
        try:
            if not self._batching.admits(reply.choices):
                return False
        except BaseException as error:
            _log.exception("the local model has no place for a request")
            failure = error
        self._ready.remove(reply)
        self._active.append(reply)
        if failure is not None:  # its own alone: the others go on
            self._end(reply, _failure(failure))
        return True

    def _next(self) -> Reply:
        """Of the caller with the fewest answers in progress, the one that has waited longest."""
        active = collections.Counter(reply.submission.caller for reply in self._active)
        return min(self._ready, key=lambda reply: active[reply.submission.caller])

    def _is_cancelled(self, reply: Reply) -> bool:
        is_cancelled = reply.submission.cancelled.is_set()
        if is_cancelled:
            self._inside -= 1
            self._release(reply)
        return is_cancelled

    def _round(self) -> None:
        going = {
            choice: reply
            for reply in self._active
            for choice in reply.choices
            if choice.finish_reason is None
        }
        for choice, outcome in self._batching.advance(list(going)):
            reply = going[choice]
            if isinstance(outcome, InvalidRequest):  # a form that only now proves to have no end
                refusal = error_event("invalid_request", outcome.message)
                self._end(reply, {**refusal, "param": outcome.param})
                continue
            if isinstance(outcome, BaseException):
                _log.error("a step of the local model failed", exc_info=outcome)
                self._end(reply, _failure(outcome))
                continue
            if choice.finish_reason is not None:
                self._batching.release(choice)
            for event in reply.events(choice, outcome):
                if event["type"] in LAST_EVENTS:
                    self._end(reply, event)
                else:
                    reply.submission.emit(event)

    def _end(self, reply: Reply, event: Event) -> None:
        """Free the request's place, and only then tell: whoever hears of it may look at once."""
        with self._changed:
            if not any(one is reply for one in self._active):
                return  # another choice of it has failed in the same round
            self._inside -= 1
            self._active = [other for other in self._active if other is not reply]
        try:
            self._release(reply)
        finally:
            reply.submission.emit(event)

    def _release(self, reply: Reply) -> None:
        for choice in reply.choices:
            self._batching.release(choice)

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1


def _failure(error: BaseException) -> Event:
    """What a client is told; the log has the rest, which may be the paths and sizes of others."""
    is_memory = isinstance(error, MemoryError) or "allocate memory" in str(error)
    why = "memory did not suffice" if is_memory else "its log says why"
    return error_event("engine_failed", f"The local model failed while it answered: {why}.")


def _opened(model: LoadedModel, sequences: int, tokens: int) -> int:
    """Make room for so many sequences; the most tokens of each that the system lets us reserve.

    Address space is reserved for all of them at their longest, which counts as memory where the
    system never promises more than it has. Raises OSError where not even a few tokens fit.
    """
    fitting = tokens
    while True:
        try:
            model.network.open(sequences, fitting)
        except OSError:
            if fitting <= _LEAST_CONTEXT:
                raise
            fitting = max(_LEAST_CONTEXT, fitting // 2)
            continue
        if fitting < tokens:
            _log.warning(
                "The system reserves no memory for %d answers of %d tokens (vm.overcommit_memory, "
                "ulimit -v): they may have %d. A smaller kv_cache_mb or max_concurrent leaves more "
                "to each.",
                *(sequences, tokens, fitting),
            )
        return fitting


def cache_tokens(model: LoadedModel, kv_cache_mb: int | None) -> int:
    """How many tokens a cache of so many millions of bytes holds, in whole blocks.

    Without a size it is one that holds a context window, or its first tokens where that is long.
    """
    usual = max(_USUAL_CACHE_BYTES, min(model.context_window, _USUAL_CONTEXT) * _bytes_of(model))
    size = usual if kv_cache_mb is None else kv_cache_mb * 1_000_000
    return max(1, size // _bytes_of(model) // BLOCK) * BLOCK


def _bytes_of(model: LoadedModel) -> int:
    return max(1, model.network.bytes_per_token)
