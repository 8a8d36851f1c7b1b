"""receiver: where SMS vendors call back."""

__version__ = "0.1.0"
