"""Profiles on demand: `tradepost profile` asks running processes for them over sockets."""
