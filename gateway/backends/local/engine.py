"""The engine: takes submissions, keeps so many answers in progress, and says what came of each."""

from __future__ import annotations

import collections
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from gateway.backends.local.decoding import TakingTurns
from gateway.backends.local.gate import Gate
from gateway.backends.local.load import LoadedModel
from gateway.backends.local.params import DEFAULT_MAX_TOKENS, SamplingParams
from gateway.backends.local.reply import Reply
from gateway.backends.local.sequence import Answering
from gateway.backends.local.submission import LAST_EVENTS, Event, Submission
from gateway.core.errors import ContextTooLong, GatewayError, InvalidRequest

_log = logging.getLogger(__name__)


class Engine:
    """One thread runs the model, another tokenises; `submit` may be called from any thread."""

    def __init__(self, model: LoadedModel, *, max_concurrent: int, max_queue: int) -> None:
        """At most `max_concurrent` answers are in progress while `max_queue` more wait."""
        self._model = model
        self._decoder = TakingTurns(model)
        self._max_concurrent = max_concurrent
        self._max_inside = max_concurrent + max_queue
        self._inside = 0
        self._ready: collections.deque[Reply] = collections.deque()
        self._active: list[Reply] = []
        self._changed = threading.Condition()
        self._tokenising = ThreadPoolExecutor(1, "tokenise")
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def submit(self, submission: Submission) -> None:
        """Take a request, or refuse it at once with an `error` event when the queue is full."""
        with self._changed:
            is_full = self._inside >= self._max_inside
            self._inside += not is_full
        if is_full:
            submission.emit(_error("queue_full", "The local model's queue is full."))
        else:
            self._tokenising.submit(self._prepare, submission)

    def load(self) -> dict[str, int]:
        """How many answers are in progress, and how many wait."""
        with self._changed:
            active = len(self._active)
            return {"active": active, "waiting": self._inside - active}

    def _prepare(self, submission: Submission) -> None:
        if submission.cancelled.is_set():
            self._leave()
            return
        try:
            reply = Reply(submission, self._choices_of(submission))
        except GatewayError as error:
            self._leave()
            refusal = _error(str(error.code or "invalid_request"), error.message)
            param = "messages" if submission.prompt is None else "prompt"
            submission.emit({**refusal, "param": param})
        except Exception:
            _log.exception("a request could not be prepared")
            self._leave()
            submission.emit(_error("engine_failed", "The local engine could not read the request."))
        else:
            with self._changed:
                self._ready.append(reply)
                self._changed.notify()

    def _choices_of(self, submission: Submission) -> list[Answering]:
        """Tokenise and check against the context window. Raises InvalidRequest."""
        tokenizer, text = self._model.tokenizer, submission.prompt
        prompt = tokenizer.encode(submission.messages) if text is None else tokenizer.plain(text)
        said = "conversation" if text is None else "prompt"
        if not prompt:
            raise InvalidRequest(f"The {said} has no text.")
        params = SamplingParams.of(submission.asked, self._model.sampling_defaults)
        window = self._model.context_window
        room = window - len(prompt)
        if room < (params.max_tokens or 1):
            asked = f" and {params.max_tokens} for the answer" if params.max_tokens else ""
            raise ContextTooLong(
                f"The {said} takes {len(prompt)} tokens{asked}; "
                f"the model's context window is {window} tokens."
            )
        limit = params.max_tokens or min(room, DEFAULT_MAX_TOKENS)
        gate = Gate(submission.cascade) if submission.cascade is not None else None
        return [Answering(self._model, prompt, params, limit, gate, submission.adapter)]

    def _run(self) -> None:
        with torch.inference_mode():
            while True:
                self._admit()
                self._round()

    def _admit(self) -> None:
        """Drop what was cancelled and fill the free places; wait while there is nothing to do."""
        with self._changed:
            while True:
                self._ready = collections.deque(filter(self._wanted, self._ready))
                self._active = list(filter(self._wanted, self._active))
                while self._ready and len(self._active) < self._max_concurrent:
                    self._active.append(self._ready.popleft())
                if self._active:
                    return
                self._changed.wait()

    def _wanted(self, reply: Reply) -> bool:
        is_cancelled = reply.submission.cancelled.is_set()
        self._inside -= is_cancelled
        return not is_cancelled

    def _round(self) -> None:
        going = [
            (reply, choice)
            for reply in self._active
            for choice in reply.choices
            if choice.finish_reason is None
        ]
        for position, outcome in self._decoder.advance([choice for _, choice in going]):
            reply, choice = going[position]
            if isinstance(outcome, Exception):
                _log.error("a step of the local model failed", exc_info=outcome)
                self._end(reply, _error("engine_failed", f"The local model failed: {outcome}"))
                continue
            for event in reply.events(choice, outcome):
                if event["type"] in LAST_EVENTS:
                    self._end(reply, event)
                else:
                    reply.submission.emit(event)

    def _end(self, reply: Reply, event: Event) -> None:
        """Free the request's place, and only then tell: whoever hears of it may look at once."""
        with self._changed:
            self._inside -= 1
            self._active = [other for other in self._active if other is not reply]
        reply.submission.emit(event)

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1


def _error(code: str, message: str) -> Event:
    return {"type": "error", "code": code, "message": message}
