"""The small model on this machine: an engine in a process of its own, and the backend that asks it.

The web process imports `backend`, `client`, `process`, `tokens`, `fetch` and `folder`; none of
them loads torch. `worker`, `engine`, `decoding`, `sequence`, `sampling` and `load` run in the
engine's process, `convert` in one that lives as long as a conversion. An encoder has the same:
`encoder_backend` in the web process; `encoder_worker`, `encoder_engine` and `encoder` in its own.
"""
