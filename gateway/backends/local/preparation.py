"""Requests made ready for the engine: tokenised on one thread, grammars compiled on another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.backends.local.gate import Gate
from gateway.backends.local.grammars import Grammars
from gateway.backends.local.load import LoadedModel
from gateway.backends.local.network.slots import whole_blocks
from gateway.backends.local.params import DEFAULT_MAX_TOKENS, SamplingParams
from gateway.backends.local.reply import Reply
from gateway.backends.local.sequence import Answering
from gateway.backends.local.submission import Event, Submission, error_event
from gateway.core.errors import ContextTooLong, GatewayError, InvalidRequest

_log = logging.getLogger(__name__)

#: What becomes of a submission: a reply, the event that refuses it, or None where it was cancelled.
Prepared = Reply | Event | None


class Preparation:
    """`begin` may be called from any thread and never waits."""

    def __init__(
        self,
        model: LoadedModel,
        prepared: Callable[[Submission, Prepared], None],
        *,
        context_window: int,
        cache_tokens: int,
        shares_prompts: bool = False,
    ) -> None:
        """`prepared` is told what became of each submission, on a thread of ours.

        `context_window` is the most tokens of a prompt and its answer, `cache_tokens` of all
        choices of a request. With `shares_prompts` callers find what others' prompts have left.
        """
        self._model = model
        self._prepared = prepared
        self._window = context_window
        self._cache_tokens = cache_tokens
        self._shares_prompts = shares_prompts
        self._grammars = Grammars(model.tokenizer, model.vocabulary, sorted(model.end_tokens))
        self._tokenising = ThreadPoolExecutor(1, "tokenise")
        self._compiling = ThreadPoolExecutor(1, "compile")

    def begin(self, submission: Submission) -> None:
        """Prepare a submission; one whose grammar isn't known keeps no other waiting."""
        if submission.form is None or self._grammars.knows(submission.form):
            self._tokenising.submit(self._attempt, submission, self._tokenise)
        else:
            self._compiling.submit(self._attempt, submission, self._compile)

    def _attempt(
        self, submission: Submission, step: Callable[[Submission], Prepared | bool]
    ) -> None:
        if submission.cancelled.is_set():
            self._prepared(submission, None)
            return
        try:
            done = step(submission)
        except GatewayError as error:
            done = error_event(str(error.code or "invalid_request"), error.message)
            param = "messages" if submission.prompt is None else "prompt"
            done["param"] = error.param or param
        except BaseException:  # a panic of a library in Rust is no Exception
            _log.exception("a request could not be prepared")
            done = error_event("engine_failed", "The local engine could not read the request.")
        if not isinstance(done, bool):
            self._prepared(submission, done)

    def _compile(self, submission: Submission) -> bool:
        if submission.form is not None:
            self._grammars.constraint(submission.form)
        self._tokenising.submit(self._attempt, submission, self._tokenise)
        return True

    def _tokenise(self, submission: Submission) -> Reply:
        """Tokenise and check against the context window. Raises InvalidRequest."""
        prompt = self._prompt_of(submission)
        params = SamplingParams.of(submission.asked, self._model.sampling_defaults)
        self._check_bias(params)
        room = self._window - len(prompt)
        if room < (params.max_tokens or 1):
            asked = f" and {params.max_tokens} for the answer" if params.max_tokens else ""
            raise ContextTooLong(
                f"The {_kind_of(submission)} takes {len(prompt)} tokens{asked}; "
                f"the model's context window is {self._window} tokens."
            )
        limit = params.max_tokens or min(room, DEFAULT_MAX_TOKENS)
        choices = [
            self._choice(submission, prompt, params.of_choice(index), limit, index)
            for index in range(submission.n)
        ]
        self._check_room(choices)
        return Reply(submission, choices)

    def _prompt_of(self, submission: Submission) -> list[int]:
        tokenizer, text = self._model.tokenizer, submission.prompt
        if text is None:
            prompt = tokenizer.encode(submission.messages, submission.tools)
        else:
            prompt = tokenizer.plain(text)
        said = _kind_of(submission)
        if not prompt:
            raise InvalidRequest(f"The {said} has no text.")
        if (largest := max(prompt)) >= self._model.vocabulary:
            raise InvalidRequest(
                f"The {said} has the token {largest}, which the network doesn't know: "
                f"it has {self._model.vocabulary} tokens."
            )
        return prompt

    def _choice(
        self,
        submission: Submission,
        prompt: list[int],
        params: SamplingParams,
        limit: int,
        index: int,
    ) -> Answering:
        form, adapter = submission.form, submission.adapter
        return Answering(
            self._model,
            prompt,
            params,
            limit,
            gate=Gate(submission.cascade) if submission.cascade is not None else None,
            constraint=self._grammars.constraint(form) if form else None,
            may_call="tools" in (form or ()),
            adapter=None if adapter is None else self._model.adapters[adapter],
            owner=None if self._shares_prompts else submission.caller,
            is_first=index == 0,
        )

    def _check_bias(self, params: SamplingParams) -> None:
        size = self._model.vocabulary
        for token, _ in params.logit_bias:
            if token >= size:
                raise InvalidRequest(
                    f"logit_bias names the token {token}; the model has {size} tokens.",
                    param="logit_bias",
                )

    def _check_room(self, choices: Sequence[Answering]) -> None:
        needed = sum(whole_blocks(choice.longest) for choice in choices)
        if needed > self._cache_tokens:
            raise ContextTooLong(
                f"The {len(choices)} choices may come to {needed} tokens; "
                f"the cache of the local model holds {self._cache_tokens} (kv_cache_mb)."
            )


def _kind_of(submission: Submission) -> str:
    return "conversation" if submission.prompt is None else "prompt"
