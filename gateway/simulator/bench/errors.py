"""What can go wrong with a benchmark."""


class BenchError(Exception):
    """The benchmark cannot be made, or its gateway or a load process is gone; the text says what to do."""
