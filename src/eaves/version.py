"""The version, alone, so that building does not import the package."""

__version__ = "0.1.0"
