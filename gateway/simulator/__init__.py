"""Simulated devices over the client engines."""

from gateway.simulator.device import DeviceError, DeviceIdentity, SimulatedDevice
from gateway.simulator.fleet import FleetPlan, FleetResult, run_fleet

__all__ = ["DeviceError", "DeviceIdentity", "FleetPlan", "FleetResult", "SimulatedDevice", "run_fleet"]
