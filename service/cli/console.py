"""Where commands write for people: standard error. What machines read goes to standard output."""

from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)
