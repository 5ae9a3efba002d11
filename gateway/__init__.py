"""slm-gateway: routes each chat request to a small or a large model and accounts for every cent."""

__version__ = "0.1.0"
