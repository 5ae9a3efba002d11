"""What to do when a deployment fails: try it again, try the next one, or give up."""
