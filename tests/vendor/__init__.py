"""A simulator of a remote vendor: it speaks OpenAI's wire format and misbehaves on command."""
