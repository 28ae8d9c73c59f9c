"""How often somebody may: rate limits, and the slow-down of failed sign-ins."""
