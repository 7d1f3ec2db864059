"""Property tests here give the same answer each time, however busy the machine is."""

from hypothesis import settings

settings.register_profile("dtls", deadline=None, derandomize=True)
settings.load_profile("dtls")
