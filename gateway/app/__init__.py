"""The composition root: settings become parts, parts become a server and a command line."""
