"""Virtual keys, and what is spent with them."""
