"""Applications by "module:name" and handlers by entry point."""

import importlib
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from gateway.handlers import (
    App,
    LoadError,
    RouteError,
    TestClient,
    installed_handlers,
    known_options,
    load_app,
    load_handlers,
)
from gateway.handlers.blame import _OTHERS

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules that can be imported until the test ends."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()

    def write(name: str, text: str) -> None:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    yield write
    for name in [name for name in sys.modules if name.startswith(("devices_", "plugin_"))]:
        del sys.modules[name]


@pytest.fixture
def install(write: Write, tmp_path: Path) -> Callable[[Mapping[str, str]], None]:
    """Install a distribution that offers these entry points, the built-in ones among them."""
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    builtin: dict[str, str] = pyproject["project"]["entry-points"]["gateway.handlers"]

    def install(entries: Mapping[str, str]) -> None:
        for number, group in enumerate((builtin, entries)):
            info = tmp_path / f"dist{number}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist{number}\nVersion: 1.0\n")
            lines = [f"{name} = {value}" for name, value in group.items()]
            (info / "entry_points.txt").write_text("\n".join(["[gateway.handlers]", *lines, ""]))

    return install


def test_app_is_loaded(write: Write) -> None:
    write("devices_a", "from gateway.handlers import App\nclass Box: pass\nbox = Box()\napp = box.app = App()\n")
    assert isinstance(load_app("devices_a:app"), App)
    assert load_app("devices_a:box.app") is load_app("devices_a:app")


def test_app_of_a_directory_is_loaded_and_may_import_its_neighbours_later(tmp_path: Path, write: Write) -> None:
    write(
        "project/devices_b",
        """
        from gateway.handlers import App
        app = App()
        @app.get("/late")
        def late(request):
            import devices_b_helper
            return devices_b_helper.TEXT
        """,
    )
    write("project/devices_b_helper", "TEXT = 'helper'")
    app = load_app("devices_b:app", directory=tmp_path / "project")
    assert TestClient(app).get("/late").text() == "helper"


def test_an_app_is_looked_for_where_the_gateway_starts(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=rf"in {tmp_path} or .* or start the gateway in the folder of the file$"):
        load_app("devices_none:app", directory=tmp_path)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("devices_c", "app 'devices_c' lacks the App's name: put it behind a colon, such as 'devices_c:app'"),
        ("devices_c:", "lacks the App's name"),
        ("package.devices", "such as 'package.devices:app'"),
        ("", "must look like 'package.module:name'"),
        (":app", "must look like"),
        ("devices-c:app", "must look like"),
        ("devices_c.py:app", "there is no module 'devices_c.py'"),
        ("devices_none:app", "there is no module 'devices_none' .* check the spelling, or install the package"),
        ("devices_c:ap", "devices_c has no 'ap'; the apps in it: devices_c:app, devices_c:other"),
        ("devices_c:app.inner", "devices_c has no 'app.inner'"),
        ("devices_c:number", "is int, not a gateway.handlers.App; the apps in it: devices_c:app"),
        ("devices_c:make", "is function, not a gateway.handlers.App; call it in the module"),
        ("devices_d:app", r"devices_d needs 'devices_missing', which is not installed \(\S+/devices_d\.py:1\)$"),
        ("devices_e:app", r"importing devices_e failed: ValueError: broken \(\S+/devices_e\.py:2\)$"),
        ("devices_f:app", r"the path 'telemetry' must start with a slash \(\S+/devices_f\.py:3\)$"),
        ("devices_i:app", r"failed: JSONDecodeError: Expecting .* \(\S+/devices_i\.py:3\)$"),
        ("devices_j:app", r"failed: ValueError: broken in two lines \(\S+/devices_k\.py:2\)$"),
        ("devices_l:app", r'failed: TypeError: write @app\.get\("/path"\) .* \(\S+/devices_l\.py:3\)$'),
        ("devices_m:app", r"no route option 'observeable'; there are thread, .* \(\S+/devices_m\.py:3\)$"),
        ("devices_n:app", r"failed: JSONDecodeError: .* \(\S+/installed/devices_n\.py:4\)$"),
        ("devices_g:app", "devices_g has no 'app'; the module holds no App: write app = App"),
        ("devices_h:app", r"^app 'devices_h:app': \S+/devices_h\.py, line 2: invalid syntax: 'def 3\(\):'$"),
    ],
)
def test_app_that_cannot_be_loaded(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, complaint: str
) -> None:
    head = "from gateway.handlers import App\n"
    write("devices_c", head + "app = App()\nother = App()\nnumber = 1\ndef make(): return App()\n")
    write("devices_d", "import devices_missing\n")
    write("devices_e", "\nraise ValueError('broken')\n")
    write("devices_f", head + "app = App()\napp.get('telemetry')(lambda request: None)\n")
    write("devices_g", "")
    write("devices_h", "x = 1\ndef 3():\n    pass\n")
    write("devices_i", "import json\ndef read(text):\n    return json.loads(text)\nread('no JSON')\n")
    write("devices_j", "import devices_k\n")
    write("devices_k", "\nraise ValueError('broken\\n in two lines')\n")
    write("devices_l", head + "app = App()\n@app.get\ndef handler(request): pass\n")
    write("devices_m", head + "app = App()\n@app.get('/', observeable=True)\ndef handler(request): pass\n")
    # An app that is installed, as most are: its lines are its author's, those of what it uses are not.
    monkeypatch.setattr("gateway.handlers.blame._OTHERS", (*_OTHERS, f"{tmp_path}/installed/"))
    monkeypatch.syspath_prepend(tmp_path / "installed")
    write("installed/devices_n", "import json\nimport devices_n_library\n\ndevices_n_library.read('no JSON')\n")
    write("installed/devices_n_library", "import json\ndef read(text):\n    return json.loads(text)\n")
    with pytest.raises(LoadError, match=complaint) as caught:
        load_app(spec)
    assert "\n" not in str(caught.value)


def test_builtin_entry_points_are_what_they_say(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    entries = tomllib.loads(text)["project"]["entry-points"]["gateway.handlers"]
    assert set(entries) == {"time", "echo", "telemetry", "firmware"}
    for name, value in entries.items():
        app = App()
        EntryPoint(name, value, "gateway.handlers").load()(app, {"path": str(tmp_path)} if name == "firmware" else {})
        assert all(route.template.startswith(f"/{name}") for route in app.routes)


def test_only_named_handlers_are_installed(install: Callable[[Mapping[str, str]], None], write: Write) -> None:
    write(
        "plugin_a",
        """
        def install(app, options):
            app.get("/plugin")(lambda request: options["greeting"])
        """,
    )
    write("plugin_b", "raise RuntimeError('loaded although nobody named it')")
    install({"plugin": "plugin_a:install", "unwanted": "plugin_b:install"})
    app = load_handlers(["echo", "plugin"], {"plugin": {"greeting": "hello"}})
    assert {route.template for route in app.routes} == {"/echo", "/plugin"}
    assert TestClient(app).get("/plugin").text() == "hello"
    assert load_handlers(["time"], app=app) is app
    assert {"/echo", "/plugin", "/time"} == {route.template for route in app.routes}
    assert load_handlers([]).routes == ()


def test_handlers_that_cannot_be_loaded(install: Callable[[Mapping[str, str]], None], write: Write) -> None:
    write("plugin_c", "value = 1\ndef install(app, options): raise OSError('no database')\n")
    write("plugin_d", "import plugin_missing\n")
    write("plugin_f", "def install(app, options): app.get('plugin')\n")
    install(
        {
            "c": "plugin_c:install",
            "d": "plugin_d:install",
            "e": "plugin_c:value",
            "f": "plugin_f:install",
            "echo": "plugin_c:install",
        }
    )
    cases: list[tuple[list[str], dict[str, dict[str, object]], str]] = [
        (["tme"], {}, "there is no handler 'tme'; installed handlers: c, d, e, echo, f, firmware, telemetry, time"),
        (["time", "time"], {}, "the handler 'time' is named twice"),
        (["time"], {"telemetry": {}}, "options for the handler 'telemetry', which is not to be installed"),
        (["time"], {"time": {"zone": "x"}}, "handler 'time': unknown option 'zone'; it has none"),
        (["telemetry"], {"telemetry": {"pth": "x"}}, "handler 'telemetry': unknown option 'pth'; it has path"),
        (["telemetry"], {"telemetry": {"path": 1}}, "handler 'telemetry': the option path must be a file's name"),
        (
            ["c"],
            {},
            r"handler 'c' \(plugin_c:install\) failed to install: OSError: no database \(\S+/plugin_c\.py:2\)$",
        ),
        (["d"], {}, r"handler 'd' \(plugin_d:install\) cannot be imported: .*plugin_missing' \(\S+/plugin_d\.py:1\)$"),
        (["f"], {}, r"handler 'f': the path 'plugin' must start with a slash \(\S+/plugin_f\.py:1\)$"),
        (["e"], {}, r"handler 'e' \(plugin_c:value\) is no function install\(app, options\)"),
        (["echo"], {}, "more than one package offers a handler 'echo': .*plugin_c:install.*uninstall all but one"),
    ]
    for names, options, complaint in cases:
        with pytest.raises(LoadError, match=complaint):
            load_handlers(names, options)


def test_handler_whose_path_is_taken_says_so(install: Callable[[Mapping[str, str]], None]) -> None:
    install({})
    app = App()
    app.get("/time")(lambda request: "mine")
    with pytest.raises(LoadError, match=r"handler 'time': GET /time .* conflicts with GET /time"):
        load_handlers(["time"], app=app)


def test_one_handler_installed_twice_alike_is_no_conflict(install: Callable[[Mapping[str, str]], None]) -> None:
    install({"echo": "gateway.handlers.builtin.echo:install"})
    assert [entry.value for entry in installed_handlers()["echo"]] == ["gateway.handlers.builtin.echo:install"]


def test_known_options() -> None:
    known_options({"a": 1}, "a", "b")
    with pytest.raises(LoadError, match="unknown option 'c'; it has a, b"):
        known_options({"c": 1}, "a", "b")


@pytest.mark.parametrize(
    ("path", "name"), [("/telemetry/{room}", "telemetry"), ("/echo", "echo")], ids=["telemetry", "echo"]
)
def test_a_conflict_with_a_builtin_says_how_to_switch_it_off(path: str, name: str) -> None:
    mine = App()
    mine.post(path)(lambda request: None)
    app = load_handlers(["time", "echo", "telemetry"])
    with pytest.raises(RouteError, match=rf'take "{name}" out of \[handlers\] enabled'):
        app.include(mine)


def test_a_conflict_among_ones_own_routes_says_nothing_of_builtins() -> None:
    app = App()
    app.get("/x")(lambda request: None)
    with pytest.raises(RouteError) as caught:
        app.get("/x")(lambda request: None)
    assert "enabled" not in str(caught.value)
