"""Property tests give the same answer each time, however busy the machine is. One profile for the whole session."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
