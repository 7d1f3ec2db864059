"""What foreign clients transfer bodies to and from: an application of handlers, and a gateway's site that has it."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from tests.interop.gateway_process import Site, build_site

MEGABYTE = 1024 * 1024

APP = '''
from hashlib import sha256

from gateway.handlers import App, Changed, Code, Content, ContentFormat, Created, Deleted, Reject, Request, Response

app = App()
stored = {}


def body(size):
    return b"".join(sha256(b"%d" % n).digest() for n in range((size + 31) // 32))[:size]


def digest(data):
    return sha256(data).hexdigest()


@app.route("/up", methods=["PUT", "POST", "FETCH", "PATCH", "IPATCH"], max_body=2_000_000)
def up(request: Request) -> Response:
    """Tell what came: the method, and the digest of the body."""
    code = Code.CONTENT if request.method == Code.FETCH else Code.CHANGED
    return Response(f"{Code(request.method).name} {digest(request.payload)}", code)


@app.post("/stream", stream=True, max_body=2_000_000)
async def stream(request: Request) -> Changed:
    sha = sha256()
    async for block in request.blocks():
        sha.update(block)
    return Changed(f"POST {sha.hexdigest()}")


@app.get("/named/{size}")
def named(request: Request, size: str) -> Content:
    """A body that is made again for each block."""
    return Content(body(int(size)), etag=b"v1", content_format=42)


@app.get("/kept/{size}")
def kept(request: Request, size: str) -> Content:
    """A body that is kept."""
    return Content(body(int(size)), content_format=42)


@app.route("/mirror", methods=["POST", "FETCH"], max_body=2_000_000)
def mirror(request: Request) -> Response:
    """The body in both directions."""
    code = Code.CONTENT if request.method == Code.FETCH else Code.CHANGED
    return Response(request.payload[::-1], code, content_format=42)


@app.post("/unlock", fresh=60)
def unlock(request: Request) -> Changed:
    return Changed("unlocked")


# What the ETSI plugtests ask of a server.


@app.route("/test", methods=["GET", "PUT", "POST", "DELETE"])
def test(request: Request) -> Response:
    stored.setdefault("/test", []).append(request.method)
    if request.method == Code.GET:
        return Content(f"method GET, {len(stored['/test'])}", etag=b"test")
    if request.method == Code.POST:
        return Created("/location1/location2/location3?first=1&second=2")
    return Deleted() if request.method == Code.DELETE else Changed()


@app.get("/seg1/seg2/seg3")
def segments(request: Request) -> str:
    return "seg3"


@app.get("/query")
def query(request: Request) -> str:
    return "&".join(request.message.uri_query)


@app.get("/separate")
async def separate(request: Request) -> str:
    import asyncio

    await asyncio.sleep(1)
    return "separate"


@app.get("/multi-format", produces=["text/plain", "application/xml"])
def formats(request: Request) -> Content:
    if request.accept == ContentFormat.XML:
        return Content("<value>21</value>", content_format=ContentFormat.XML)
    return Content("21")


@app.get("/validate", etag=lambda request: stored.get("validate", (b"v0", ""))[0])
def validate(request: Request) -> Content:
    etag, text = stored.get("validate", (b"v0", ""))
    return Content(text, etag=etag)


def current(request: Request):
    return stored["validate"][0] if "validate" in stored else None


@app.put("/validate", etag=current)
def set_validate(request: Request) -> Response:
    created = "validate" not in stored
    etag = sha256(request.payload).digest()[:4]
    stored["validate"] = etag, request.text()
    return Created(etag=etag) if created else Changed(etag=etag)


@app.get("/create/{name}")
def created(request: Request, name: str) -> Content:
    return Content(stored["create", name])


@app.put("/create/{name}", etag=lambda request: b"there" if ("create", request.params["name"]) in stored else None)
def create(request: Request, name: str) -> Created:
    stored["create", name] = request.payload
    return Created()


@app.get("/large")
def large(request: Request) -> Content:
    return Content(body(5000), etag=b"large")


@app.put("/large-update", max_body=100_000)
def large_update(request: Request) -> Changed:
    stored["large"] = request.payload
    return Changed(digest(request.payload))


@app.get("/large-update")
def large_updated(request: Request) -> Content:
    return Content(stored["large"], etag=sha256(stored["large"]).digest()[:8])


@app.post("/large-create", max_body=100_000)
def large_create(request: Request) -> Created:
    stored["created"] = request.payload
    return Created("/large-create/newest")


@app.get("/large-create/{name}")
def large_created(request: Request, name: str) -> Content:
    return Content(stored["created"])


@app.post("/large-post", max_body=100_000)
def large_post(request: Request) -> Changed:
    return Changed(request.payload + body(3000))


@app.get("/refused")
def refused(request: Request) -> None:
    raise Reject(Code.FORBIDDEN, "not for you")
'''


def body(size: int) -> bytes:
    """The body of that size which the application gives: no block of it is like another."""
    return b"".join(sha256(b"%d" % n).digest() for n in range((size + 31) // 32))[:size]


def build_store(folder: Path, settings: Mapping[str, object] | None = None) -> Site:
    """A site whose gateway has the application, and the firmware `image.bin` of a megabyte."""
    (folder / "store.py").write_text(APP)
    images = folder / "images"
    images.mkdir()
    (images / "image.bin").write_bytes(body(MEGABYTE))
    own: dict[str, object] = {
        "handlers.app": "store:app",
        "handlers.enabled": ["time", "echo", "telemetry", "firmware"],
    }
    site = build_site(folder, {**own, **(settings or {})})
    with site.config.open("a") as config:
        config.write('\n[handlers.firmware]\npath = "images"\n')
    return site
