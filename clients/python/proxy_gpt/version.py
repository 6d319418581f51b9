"""The version of the product that the client belongs to."""

__version__ = "1.0.0"
