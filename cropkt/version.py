"""The version, in a module below all floors: cropkt/__init__.py names what is above them."""

VERSION = "0.2.0"
