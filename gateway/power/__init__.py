"""What this machine's own meters say of the electricity that it draws."""
