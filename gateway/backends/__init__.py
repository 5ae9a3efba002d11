"""What can answer a request: alternatives side by side, one a file or folder."""
