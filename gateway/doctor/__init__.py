"""`gateway doctor`: looks at everything that a gateway needs before it is needed, and says what to do."""

from gateway.doctor.examination import examine
from gateway.doctor.findings import Finding, Status

__all__ = ["Finding", "Status", "examine"]
