"""What operators have done: a table of operations, from which come the commands, the HTTP API and its client.

The operations themselves are in the modules of their nouns; `table` has all of them.
"""

from gateway.management.managing import Local, Management
from gateway.management.operation import Context, Operation
from gateway.management.remote import Remote, ServerError

__all__ = ["Context", "Local", "Management", "Operation", "Remote", "ServerError"]
