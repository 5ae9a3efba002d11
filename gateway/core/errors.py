"""Everything that can go wrong, as one tree.

    GatewayError
    ├── InvalidRequest            the client's body, headers or model name (4xx)
    │   ├── ModelNotFound
    │   ├── ModelNotAllowed       the client's key may not ask for this model
    │   ├── RequestNotFound       feedback on a request that the ledger doesn't have
    │   ├── ResponseNotFound      a response that isn't stored (any more)
    │   ├── ContextTooLong
    │   ├── CapabilityMissing     no deployment can do what the request needs
    │   └── RequestTooLarge
    ├── Unauthorized              the client's key is missing or wrong
    ├── Forbidden                 the client's key may not see this
    ├── RateLimited               the client's key asks too often
    ├── LedgerUnavailable         the spend log can't be read or written
    ├── ShuttingDown              the gateway ends before the answer does
    └── BackendError              a deployment failed
        ├── UpstreamError         the upstream answered with an error of its own
        ├── UpstreamUnavailable   no connection, or not an answer that we can read
        │   └── UpstreamUnreachable no connection could be made: nothing was sent
        ├── UpstreamTimeout       nothing came in time
        ├── StreamInterrupted     the stream ended before its end
        ├── EngineUnavailable     the local engine is not loaded, is full, or died
        ├── NotCalled             the deployment wasn't called at all
        │   ├── DeploymentResting it failed too often and is left alone for a while
        │   ├── Overloaded        it has as many requests as it may
        │   ├── DeadlinePassed    the time for the request is over
        │   └── NotPayable        the key's budget doesn't allow the call
        │       ├── BudgetExceeded    it might cost more than is left
        │       └── PriceUnknown      nobody knows what it costs
        └── LowConfidence         the model wasn't sure of its beginning, and gave the answer up

`code` is the machine word of OpenAI's envelope; `retryable` says whether another attempt may
succeed. The HTTP statuses live in `gateway.api.errors` alone, save an upstream's own `status`.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from gateway.core.certainty import Certainty
from gateway.core.usage import Usage


class GatewayError(Exception):
    """The root. `message` is one clear sentence and never holds a secret."""

    code: str | None = "internal_error"
    retryable = False

    #: Set where the gateway has already tried again, so that clients needn't.
    exhausted = False

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(GatewayError):
    """The request can't be served as it is; the client has to change it."""

    code: str | None = None


class ModelNotFound(InvalidRequest):
    """The `model` names nothing that the gateway serves."""

    code = "model_not_found"


class ModelNotAllowed(InvalidRequest):
    """The client's key is for other models."""

    code = "model_not_found"


class RequestNotFound(InvalidRequest):
    """The ledger has no such request, or another key made it."""

    code = "request_not_found"


class ResponseNotFound(InvalidRequest):
    """No such response is stored, or another key made it."""


class ContextTooLong(InvalidRequest):
    """The conversation doesn't fit into any model that could answer it."""

    code = "context_length_exceeded"


class CapabilityMissing(InvalidRequest):
    """No eligible deployment can do what the request needs."""

    code = "unsupported_capability"


class RequestTooLarge(InvalidRequest):
    """The body is larger than the configured limit."""

    code = "request_too_large"


class Unauthorized(GatewayError):
    """The client's key is missing or wrong."""

    code = "invalid_api_key"


class Forbidden(GatewayError):
    """A virtual key may not see this: it tells of others."""

    code = "permission_denied"


class RateLimited(GatewayError):
    """The client's key has asked too often; `kind` is what there were too many of."""

    code = "rate_limit_exceeded"
    retryable = True

    def __init__(
        self, message: str, *, kind: Literal["requests", "tokens"], retry_after_s: float
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s


class LedgerUnavailable(GatewayError):
    """The database of the spend log, and of responses, can't be read or written."""

    code = "ledger_unavailable"


class ShuttingDown(GatewayError):
    """The gateway was told to end, and the time for what is in flight is over."""

    code = "shutting_down"
    retryable = True

    def __init__(self) -> None:
        super().__init__("The gateway is shutting down and had to end this answer.")


def reason_of(cancelled: asyncio.CancelledError) -> GatewayError | None:
    """Why the gateway itself cancelled a request; None where its client has left."""
    reason = cancelled.args[0] if cancelled.args else None
    return reason if isinstance(reason, GatewayError) else None


class BackendError(GatewayError):
    """A deployment failed. `status` is the upstream's own HTTP status where it gave one."""

    code: str | None = "backend_error"
    retryable = True
    timed_out = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.status = status
        self.retry_after_s = retry_after_s


class UpstreamError(BackendError):
    """The upstream answered with an error; `error_type` is its own `type` word."""

    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        param: str | None = None,
        code: str | None = None,
        error_type: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(
            message, param=param, code=code, status=status, retry_after_s=retry_after_s
        )
        self.error_type = error_type
        self.retryable = status in {408, 409, 429} or status >= 500


class UpstreamUnavailable(BackendError):
    """The upstream can't be reached, or what it sent can't be read."""

    code = "upstream_unavailable"


class UpstreamUnreachable(UpstreamUnavailable):
    """No connection could be made, so nothing was sent."""


class UpstreamTimeout(BackendError):
    """The upstream didn't answer in time."""

    code = "upstream_timeout"
    timed_out = True


class StreamInterrupted(BackendError):
    """A stream broke after it had begun."""

    code = "stream_interrupted"
    retryable = False


class EngineUnavailable(BackendError):
    """The local engine can't take the request now."""

    code = "engine_unavailable"


class NotCalled(BackendError):
    """The deployment wasn't called, so there is nothing to account for; another may be."""


class DeploymentResting(NotCalled):
    """The deployment failed too often, and is left alone for a while."""

    code = "deployment_resting"


class Overloaded(NotCalled):
    """The deployment has as many requests as it may, and no more may wait."""

    code = "overloaded"


class DeadlinePassed(NotCalled):
    """The time that a request may take until its answer begins is over."""

    code = "deadline_passed"
    timed_out = True


class NotPayable(NotCalled):
    """The budget of the client's key doesn't allow the call; a cheaper one perhaps."""


class BudgetExceeded(NotPayable):
    """The call might cost more than the key has left.

    `degrades` says that the key may have the small tier instead. `exhausted` is set unless calls in
    flight hold the money and may give some of it back.
    """

    code = "insufficient_quota"

    def __init__(
        self, message: str, *, retry_after_s: float | None, exhausted: bool, degrades: bool
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.exhausted = exhausted
        self.degrades = degrades


class PriceUnknown(NotPayable):
    """Nobody knows what the call costs, and unknown is not free."""

    code = "price_unknown"


class LowConfidence(BackendError):
    """A cascade gave the answer up; a larger model is to answer. No client ever sees this.

    `confidence` (0..1) is how sure the model was, `certainty` how sure of all that it said, where
    the backend can tell; `usage` is what the attempt has used up.
    """

    code = "low_confidence"
    retryable = False

    def __init__(self, confidence: float, usage: Usage, certainty: Certainty | None = None) -> None:
        super().__init__(f"The model's confidence was {confidence:.3f}.")
        self.certainty = certainty
        self.confidence = confidence
        self.usage = usage
