"""Simulated devices over the client engines."""

from gateway.simulator.demo import run_demo
from gateway.simulator.device import DeviceError, DeviceIdentity, DeviceObservation, SimulatedDevice
from gateway.simulator.fleet import FleetPlan, FleetResult, run_fleet
from gateway.simulator.identities import (
    certificate_identities,
    certified,
    lot_identities,
    psk_identities,
    raw_key_identities,
    with_raw_key,
)
from gateway.simulator.resources import DeviceResources

__all__ = [
    "DeviceError",
    "DeviceIdentity",
    "DeviceObservation",
    "DeviceResources",
    "FleetPlan",
    "FleetResult",
    "SimulatedDevice",
    "certificate_identities",
    "certified",
    "lot_identities",
    "psk_identities",
    "raw_key_identities",
    "run_demo",
    "run_fleet",
    "with_raw_key",
]
