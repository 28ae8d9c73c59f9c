"""Replays: a range of events is sent to a webhook, again or for the first time."""
