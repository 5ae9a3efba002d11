"""The dashboard: its page, the figures that it shows, and who may see them."""
