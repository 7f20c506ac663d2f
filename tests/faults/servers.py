"""Web servers, which fork, restart and stop their workers by rules of their own."""

import signal
import urllib.request
from collections.abc import Callable
from typing import Final

from gunicorn.config import make_settings

from faults.driving import PYTHON, wait_until
from faults.scenario import STARTED, Run, Scenario

# Which it would put below the user's home; gunicorn 23 has none.
_NO_CONTROL_SOCKET: Final = ["--no-control-socket"] if "control_socket_disable" in make_settings() else []

REQUESTS: Final = 40
SPANS_A_REQUEST: Final = 15

WSGI: Final = """
import itertools
numbers = itertools.count()
def app(environ, start_response):
    spans(15, f"{os.getpid()}-{next(numbers)}-")
    if environ["PATH_INFO"] == "/stuck":
        time.sleep(60)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
ASGI: Final = """
import itertools
numbers = itertools.count()
async def app(scope, receive, send):
    assert scope["type"] == "http"
    spans(15, f"{os.getpid()}-{next(numbers)}-")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""
GEVENT: Final = (
    "from gevent import monkey\nmonkey.patch_all()\nimport gevent\n"
    + STARTED
    + """
def work(greenlet):
    for number in range(50):
        end(f"{greenlet}-{number}")
        gevent.sleep(0)
gevent.joinall([gevent.spawn(work, greenlet) for greenlet in range(20)])
leaving()
"""
)


def serve(stop: signal.Signals, *, before: Callable[[Run, str], None] = lambda *_: None) -> Callable[[Run], None]:
    """Sends requests, does what is to be done before the end, and stops the server."""

    def during(run: Run) -> None:
        url = run.program.hear(r"http://127\.0\.0\.1:[1-9][0-9]*").group()
        for _ in range(REQUESTS):
            # A server that is starting, or has a worker restart, may refuse a connection or break it off.
            assert wait_until(lambda: answers(url), 20), run.program.output
        before(run, url)
        run.program.signal(stop)

    return during


def answers(url: str) -> bool:
    """Sends a request and tells whether it was answered."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.read())
    except OSError:
        return False


def gets_stuck(run: Run, url: str) -> None:
    """Has a worker get stuck until it is aborted, and sees that another serves."""
    assert not answers(f"{url}/stuck")
    run.program.hear("WORKER TIMEOUT")
    assert wait_until(lambda: answers(url), 20), run.program.output


def _gunicorn(name: str, *options: str, during: Callable[[Run], None], crashes: int = 0, **more) -> Scenario:
    return Scenario(
        name=f"gunicorn, {name}",
        holds="However a worker is stopped or restarted, what it ended arrives.",
        program=STARTED + WSGI,
        command=(
            PYTHON,
            "-m",
            "gunicorn",
            "program:app",
            "--bind=127.0.0.1:0",
            "--workers=2",
            *_NO_CONTROL_SOCKET,
            *options,
        ),
        during=during,
        crashes=crashes,
        **more,
    )


def _uvicorn(name: str, *options: str, **more) -> Scenario:
    return Scenario(
        name=f"uvicorn, {name}",
        holds="A server that ends itself by the signal it was sent loses nothing.",
        program=STARTED + ASGI,
        command=(PYTHON, "-m", "uvicorn", "program:app", "--port=0", *options),
        during=serve(signal.SIGTERM),
        **more,
    )


SCENARIOS: Final = (
    _gunicorn("SIGTERM", during=serve(signal.SIGTERM)),
    _gunicorn("preload, SIGTERM", "--preload", during=serve(signal.SIGTERM)),
    _gunicorn("SIGQUIT", during=serve(signal.SIGQUIT)),
    _gunicorn("SIGINT", during=serve(signal.SIGINT)),
    _gunicorn("max requests", "--max-requests=5", during=serve(signal.SIGTERM)),
    _gunicorn("worker timeout", "--timeout=1", during=serve(signal.SIGTERM, before=gets_stuck), crashes=1),
    _uvicorn("SIGTERM", crashes=1),
    _uvicorn("two workers, SIGTERM", "--workers=2", crashes=2, compared=False),
    Scenario(
        name="gevent, monkey-patched",
        holds="Greenlets instead of threads change nothing.",
        program=GEVENT,
    ),
)
