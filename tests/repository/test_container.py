"""The Dockerfile's promises, read from its text: there is no Docker daemon where the tests run."""

import fnmatch
import re

from tests.repository.tree import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
# One instruction a line, comments gone.
LINES = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
INSTRUCTIONS = [tuple(line.split(maxsplit=1)) for line in LINES if line.strip()]
STAGES = [
    INSTRUCTIONS[begin:end]
    for begins in [[i for i, (word, *_) in enumerate(INSTRUCTIONS) if word == "FROM"]]
    for begin, end in zip(begins, [*begins[1:], None], strict=True)
]


def arguments(stage: int, word: str) -> list[str]:
    return [rest for first, rest in STAGES[stage] if first == word]


def test_two_stages_on_the_slim_image_of_a_supported_python() -> None:
    assert len(STAGES) == 2
    assert [arguments(stage, "FROM")[0].split()[0] for stage in (0, 1)] == ["python:${PYTHON_VERSION}-slim"] * 2
    [version] = re.findall(r"^ARG PYTHON_VERSION=(.*)$", TEXT, re.MULTILINE)
    assert version in ("3.11", "3.12", "3.13")


def test_no_compiler_and_no_package_manager_in_the_image() -> None:
    assert not re.search(r"gcc|g\+\+|clang|build-essential|apt-get|cargo|rustc", "\n".join(LINES))
    last = "\n".join(" ".join(instruction) for instruction in STAGES[1])
    assert "pip" not in last
    assert "python -m venv --without-pip /opt/gateway" in arguments(0, "RUN")[0]


def test_dependencies_come_from_the_hash_locks_as_wheels() -> None:
    installs = re.findall(r"pip [^&]*?install [^&]+", "\n".join(arguments(0, "RUN")))
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes --only-binary :all:" in install or "--no-deps --no-index" in install
    assert any("-r requirements.txt" in install for install in installs)


def test_the_last_stage_only_gets_the_environment() -> None:
    assert arguments(1, "COPY") == ["--from=build /opt/gateway /opt/gateway"]
    assert arguments(1, "ADD") == []


def test_the_process_is_not_root_and_says_so_by_number() -> None:
    words = [word for word, *_ in STAGES[1]]
    assert arguments(1, "USER") == ["10001:10001"]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "--uid 10001" in arguments(1, "RUN")[0]
    # Everything that needs root comes before.
    assert "RUN" not in words[words.index("USER") :]


def test_ports_and_health_check() -> None:
    assert arguments(1, "EXPOSE") == ["5684/udp 9464/tcp"]
    [check] = arguments(1, "HEALTHCHECK")
    assert 'CMD ["python", "-c", ' in check
    assert "http://127.0.0.1:9464/livez" in check
    code = re.search(r'"-c", "([^"]+)"', check)
    assert code is not None
    compile(code[1], "HEALTHCHECK", "exec")


def test_the_command_is_in_exec_form_so_that_signals_arrive() -> None:
    assert arguments(1, "ENTRYPOINT") == ['["gateway"]']
    [command] = arguments(1, "CMD")
    assert command.startswith('["serve", "--config", ')


def test_the_build_context_holds_what_is_copied_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {source.removeprefix("./").rstrip("/") for copy in arguments(0, "COPY") for source in copy.split()[:-1]}
    assert copied == allowed
    for secret in (".env", "certs/server.key", ".git/config", "registry.db"):
        assert not any(fnmatch.fnmatch(secret, pattern) for pattern in allowed)
