"""A whole application: thermostats that post readings, fetch their setting, and lose it again.

`gateway.toml` names it as `app = "tests.handlers.example_app:app"`.
"""

import asyncio
from dataclasses import dataclass, field

from gateway.handlers import App, Changed, Code, Content, Created, Deleted, Reject, Request, Response

app = App()


@dataclass
class Store:
    """Stands for the database."""

    settings: dict[str, float] = field(default_factory=dict)
    readings: list[tuple[str, str, float]] = field(default_factory=list)
    is_open: bool = False

    async def read(self, device: str) -> float | None:
        await asyncio.sleep(0)  # a real one would wait for the network here
        return self.settings.get(device)


store = Store()


@app.on_startup
async def connect() -> None:
    store.is_open = True


@app.on_shutdown
async def disconnect() -> None:
    store.is_open = False


# A plain function answers at once. It runs on the data path, so it only does what takes microseconds.
@app.post("/telemetry/{stream}")
def post_reading(request: Request, stream: str) -> Response:
    reading = request.json()  # 4.00 if the device sends no JSON
    if not isinstance(reading, dict) or not isinstance(reading.get("value"), int | float):
        raise Reject(Code.UNPROCESSABLE_ENTITY, 'send {"value": NUMBER}')
    store.readings.append((request.device.id, stream, reading["value"]))
    return Changed()


# What waits is async: other devices are served meanwhile.
@app.get("/setting")
async def get_setting(request: Request) -> Response:
    celsius = await store.read(request.device.id)
    if celsius is None:
        raise Reject(Code.NOT_FOUND, "nothing set yet")
    return Content({"celsius": celsius}, max_age=600)


@app.put("/setting")
async def put_setting(request: Request) -> Response:
    is_new = await store.read(request.device.id) is None
    store.settings[request.device.id] = float(request.text())
    return Created() if is_new else Changed()


@app.delete("/setting")
def delete_setting(request: Request) -> Response:
    store.settings.pop(request.device.id, None)
    return Deleted()


# Without a Response: text, bytes, a dict or list (JSON), or None.
@app.get("/whoami")
def whoami(request: Request) -> dict[str, object]:
    return {"device": request.device.id, "tenant": request.device.tenant_id, "proved_by": request.principal.auth}


# A library that blocks runs in a thread.
@app.post("/report", thread=True)
def post_report(request: Request) -> str:
    return f"{len(request.payload)} bytes kept"
