"""Commands write for people to standard error. Output for programs goes to standard output."""

from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)
