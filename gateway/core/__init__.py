"""The words of the domain as plain values: no I/O, no framework, no configuration."""
