"""`gateway bench`: what a gateway does a second, and what it takes for it."""

from gateway.simulator.bench.comparing import COLUMNS as COMPARISON_COLUMNS
from gateway.simulator.bench.comparing import Comparison, Verdict, compare, differences, read_document
from gateway.simulator.bench.devices import CertificateFleet, PskFleet
from gateway.simulator.bench.document import COLUMNS, SCHEMA, make_document, remarks, rows
from gateway.simulator.bench.errors import BenchError
from gateway.simulator.bench.gateway_process import ThrowAwayGateway
from gateway.simulator.bench.loader import Pace
from gateway.simulator.bench.measuring import BenchPlan, Measured, Operation, Target, measure
from gateway.simulator.bench.processes import LoadProcesses
from gateway.simulator.bench.tally import Tally, percentile

__all__ = [
    "COLUMNS",
    "COMPARISON_COLUMNS",
    "SCHEMA",
    "BenchError",
    "BenchPlan",
    "CertificateFleet",
    "Comparison",
    "LoadProcesses",
    "Measured",
    "Operation",
    "Pace",
    "PskFleet",
    "Tally",
    "Target",
    "ThrowAwayGateway",
    "Verdict",
    "compare",
    "differences",
    "make_document",
    "measure",
    "percentile",
    "read_document",
    "remarks",
    "rows",
]
