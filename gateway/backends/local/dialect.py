"""How families of models write calls of tools in their answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """Calls are JSON objects of a `name` and of arguments, which have the key `arguments`.

    The text `opening` begins them, `lead` may follow it once as a regular expression, and `closing`
    ends them. `between` stands between two calls; None where an answer has one at most. Where
    `opening` is a special token of the tokenizer, `token` is its spelling. A dialect without an
    opening has calls that are the whole answer.
    """

    name: str
    opening: str
    closing: str
    arguments: str
    between: str | None = None
    lead: str = ""
    token: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a call is a whole answer."""
        return not self.opening

    @property
    def begins(self) -> str:
        """What a text begins to be a call with."""
        return self.opening or NAME


#: How an object that is a call begins.
NAME = '{"name": "'
#: Where a call begins and ends for Qwen and Hermes, and in the gateway's own words.
CALL_BEGINS = "<tool_call>"
CALL_ENDS = "</tool_call>"

HERMES = Dialect(
    "hermes",
    opening=f"{CALL_BEGINS}\n",
    closing=f"\n{CALL_ENDS}",
    arguments="arguments",
    between=f"\n{CALL_ENDS}\n{CALL_BEGINS}\n",
)
#: Mistral's, whose calls are a list: https://docs.mistral.ai/capabilities/function_calling
MISTRAL = Dialect(
    "mistral",
    opening="[TOOL_CALLS]",
    closing="]",
    arguments="arguments",
    between=", ",
    lead=r" ?\[",
    token="[TOOL_CALLS]",  # noqa: S106 (no password)
)
#: Llama 3.1's and its successors', one call an answer:
#: https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1
LLAMA = Dialect("llama", opening="", closing="", arguments="parameters")

#: Newer models of Mistral's write names and arguments outside of any list.
_CALL_LIST = re.compile(r"\[TOOL_CALLS\] ?\[")

DIALECTS: Mapping[str, Dialect] = {one.name: one for one in (HERMES, MISTRAL, LLAMA)}


def dialect_of(template: str) -> Dialect | None:
    """The dialect in which a chat template tells of tools; None where it knows none of these."""
    if "tools" not in template:
        return None
    if CALL_BEGINS in template:
        return HERMES
    if _CALL_LIST.search(template) is not None:
        return MISTRAL
    is_llama = "<|start_header_id|>" in template and '"parameters": ' in template
    return LLAMA if is_llama else None
