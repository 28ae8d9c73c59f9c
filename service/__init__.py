"""Tradepost: the backend of a shop as one platform service."""

__version__ = "0.1.0"
