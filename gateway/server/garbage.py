"""The garbage collector, set for a server: a few long-lived objects a session, very many short-lived ones a request."""

import gc

from gateway.server.limits import COLLECT_AFTER_OBJECTS, COLLECT_OLDER_AFTER


def tune_garbage_collector() -> None:
    """To be called once, when everything that lives as long as the process is there.

    What exists by then is never looked at again. Young objects are looked at more rarely: nearly all of them die by
    their reference count, and with Python's own settings the looking costs a seventh of a request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, COLLECT_OLDER_AFTER, COLLECT_OLDER_AFTER)
