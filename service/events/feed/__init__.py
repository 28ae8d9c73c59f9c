"""Reading events in the order of their places."""
