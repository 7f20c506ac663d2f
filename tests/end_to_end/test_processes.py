"""Child processes run as the tests say, and none outlives its test."""

import socket
import time

import pytest

from loopback.processes import run_python, start_python


def test_source_arguments_and_environment(spool_dir):
    ran = run_python(
        """
        import os, sys
        print(sys.argv[1:], os.environ.get("ADDED"), os.environ.get("HOME"), os.environ["CALLSPAN_SPOOL_DIR"])
        """,
        env={"ADDED": "yes", "HOME": None},
        arguments=["a"],
    )

    assert ran.stdout == f"['a'] yes None {spool_dir}\n"


def test_auto_instrument_runs_under_opentelemetry_instrument():
    ran = run_python(
        "import sys; print('opentelemetry.instrumentation.auto_instrumentation' in sys.modules)", auto_instrument=True
    )

    assert ran.stdout == "True\n"


def test_a_failure_says_what_was_printed():
    with pytest.raises(AssertionError, match=r"exit status 3(.|\n)*why"):
        run_python("import sys; print('why'); sys.exit(3)")


def test_a_hang_is_ended_and_says_where_it_hung():
    started = time.monotonic()
    with pytest.raises(AssertionError, match=r"still running(.|\n)*line 3"):
        run_python("\nimport time\ntime.sleep(60)", timeout=0.5)

    assert time.monotonic() - started < 5


def test_nothing_outlives_the_block():
    held_by_all = """
        import os, socket, sys, time
        connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        os.fork()
        connection.send(b"1")
        time.sleep(60)
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        with start_python(held_by_all, arguments=[str(server.getsockname()[1])]):
            connection, _ = server.accept()
            received = b""
            while len(received) < 2:
                received += connection.recv(2)
        with connection:
            connection.settimeout(5)
            assert connection.recv(1) == b""
