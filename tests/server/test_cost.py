"""What a handshake costs, in numbers that no other work on the machine changes."""

import gc

import pytest

from tests.bench.replay import DEVICES, count_bytecode, prepared

# A tenth above what it was when this was written. Whoever adds a feature that goes over it either takes something away,
# or raises the number and says in docs/performance.md what for.
MOST_CALLS = {"psk": 608, "certificate": 794}


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("kind", MOST_CALLS)
def test_a_handshake_takes_no_more_calls_than_it_did(kind: str) -> None:
    with prepared(kind) as (server, recordings):
        for number, recording in enumerate(recordings):
            server.replay(number, recording)
        assert server.completed == DEVICES
        calls, _ = count_bytecode(server, recordings)
        assert server.completed == 2 * DEVICES
    assert calls <= MOST_CALLS[kind]


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("kind", MOST_CALLS)
def test_a_handshake_leaves_no_work_for_the_garbage_collector(kind: str) -> None:
    """What refers to itself stays until the collector comes by: 7 kB of each handshake, for hundreds of them."""
    with prepared(kind) as (server, recordings):
        server.replay(0, recordings[0])
        gc.collect()
        gc.disable()
        try:
            for number, recording in enumerate(recordings):
                server.replay(number, recording)
            assert gc.collect() == 0
        finally:
            gc.enable()
