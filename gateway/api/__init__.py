"""HTTP: bytes to requests, items to responses, errors to OpenAI's envelope."""
