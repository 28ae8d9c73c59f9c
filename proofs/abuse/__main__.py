"""Writes docs/reliability/abuse.md from the tables."""

from proofs.abuse import document

if __name__ == "__main__":
    document.write()
