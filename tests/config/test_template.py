"""The written file: equal to the example in the repository, loadable, and telling the truth about defaults."""

import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import Address, load_settings, render_template

EXAMPLE = Path(__file__).parents[2] / "config" / "gateway.toml"
# A key that is commented out; the indented lines of the example table are prose.
COMMENTED_KEY = re.compile(r"^# (\w+ = .+)$", re.MULTILINE)
# These have no default; the line shows an example.
EXAMPLES_ONLY = {
    "certificate",
    "private_key",
    "ticket_keys",
    "key_log",
    "psk_hint",
    "app",
    "token_file",
    "master_key",
    "derivation_key",
}


def test_the_example_of_the_repository_is_what_is_written() -> None:
    assert EXAMPLE.read_text() == render_template()


def test_as_written_it_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(render_template())
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert load_settings(file, environ={}).model_dump() == load_settings(empty, environ={}).model_dump()


def test_each_line_that_is_commented_out_shows_the_default(tmp_path: Path) -> None:
    lines = [
        line
        for line in COMMENTED_KEY.sub(r"\1", render_template()).splitlines()
        if line.split(" = ")[0] not in EXAMPLES_ONLY
    ]
    text = "\n".join(lines)
    written = tomllib.loads(text)
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    settings = load_settings(file, environ={})
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert settings.model_dump() == load_settings(empty, environ={}).model_dump()
    for section, model in settings.model_dump().items():
        assert set(model) - EXAMPLES_ONLY - {"options", "certificates"} == set(written[section])


def test_the_examples_are_valid_too(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(COMMENTED_KEY.sub(r"\1", render_template()))
    settings = load_settings(file, environ={}, check_files=False)
    assert settings.dtls.certificate == tmp_path / "server.pem"
    assert settings.handlers.app == "mycompany.devices:app"


def test_given_values_are_in_force(tmp_path: Path) -> None:
    values = {
        "server.bind": Address("::1", 0),
        "dtls.certificate": Path('odd "name"\\.pem'),
        "dtls.private_key": "über.key",
        "dtls.idle_timeout": 90.0,
        "dtls.mtu": 512,
        "handlers.enabled": ["time"],
    }
    file = tmp_path / "gateway.toml"
    file.write_text(render_template(values))
    settings = load_settings(file, environ={}, check_files=False)
    assert settings.server.bind == Address("::1", 0)
    assert settings.dtls.certificate == tmp_path / 'odd "name"\\.pem'
    assert settings.dtls.private_key == tmp_path / "über.key"
    assert (settings.dtls.idle_timeout, settings.dtls.mtu) == (90.0, 512)
    assert settings.handlers.enabled == ("time",)


def test_a_value_outside_the_schema_is_refused() -> None:
    with pytest.raises(KeyError, match=r"dtls\.mtuu"):
        render_template({"dtls.mtuu": 1})
    with pytest.raises(TypeError, match="no TOML"):
        render_template({"dtls.mtu": object()})
