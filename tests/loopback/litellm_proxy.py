"""The real LiteLLM proxy under `opentelemetry-instrument`, between a client of the test's and the loopback OpenAI."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from loopback.openai_api import OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import SCRIPTS, environment

MASTER_KEY: Final = "sk-master-of-the-loopback-proxy"
VIRTUAL_KEY: Final = "virtual-of-the-loopback-proxy"
PROVIDER_KEY: Final = "provider-of-the-loopback-proxy"
KEYS: Final = (MASTER_KEY, VIRTUAL_KEY, PROVIDER_KEY)
PASSED: Final = "/passed/on"
"""Where its configuration has it pass on what is asked for of chat."""

# What LiteLLM's proxy imports, and LiteLLM itself does not ask for; semver where its extra `proxy` has it.
_NEEDED: Final = ("apscheduler", "backoff", "expression", "fastapi", "fastapi_sso", "orjson", "redis", "websockets") + (
    ("semver",) if any(needed.startswith("semver") for needed in requires("litellm") or ()) else ()
)
# Any of these makes spans of the server's requests; where several are there, the first.
_SERVER_SPANS: Final = ("opentelemetry.instrumentation.fastapi", "fastapi.telemetry")
_WITHOUT_SERVER_SPANS: Final = {
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "litellm,asgi,fastapi,starlette",
    "NO_SERVER_SPANS": "1",
}
_MODELS: Final = {"assistant": "gpt-4o-mini", "embedder": "text-embedding-3-small", "painter": "gpt-image-1"}
_GENERAL: Final = {"master_key": MASTER_KEY, "custom_auth": "handler.auth"}
_CONFIG: Final = {
    "litellm_settings": {"callbacks": "handler.logger"},
    "router_settings": {"num_retries": 2, "retry_after": 0, "disable_cooldowns": True},
}
# Accepts keys as the proxy does with a database, and writes down what the callbacks are told.
_HANDLER: Final = f"""
import os
import callspan
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy import proxy_server
from litellm.proxy._types import UserAPIKeyAuth

if "NO_SERVER_SPANS" in os.environ:  # FastAPI's own, from 0.165 on
    getattr(proxy_server.app, "_telemetry", {{}})["tracing"] = False

async def auth(request, api_key):
    if api_key not in ({MASTER_KEY!r}, {VIRTUAL_KEY!r}):
        raise ValueError("not a key of ours")
    return UserAPIKeyAuth(api_key=api_key, key_alias="loopback", metadata={{"note": "of the key"}})

def line(path, *words):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (" ".join(words) + "\\n").encode())
    os.close(descriptor)

class Logger(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        line("told", "success", kwargs["litellm_call_id"])

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        line("told", "failure", kwargs["litellm_call_id"])

logger = Logger()

@callspan.callback(delivery="durable", name="ledger")
def ledger(call):
    line("stored", repr(dict(call.metadata)), repr(dict(call.attributes)), repr(call))
"""
_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 30.0


def absent(*, server_spans: bool) -> str | None:
    """What a proxy would need that is not installed, or None."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if server_spans and not any(importlib.util.find_spec(name) for name in _SERVER_SPANS):
        missing.append(_SERVER_SPANS[0])
    return f"LiteLLM's proxy needs {', '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class LiteLLMProxy:
    """A running proxy.

    Attributes:
        directory: where its configuration is, and what its callbacks write: `told` by LiteLLM of each call, a line
            with the outcome and the call's id; `stored`, a line of each record that a durable callback is handed.
        url: where it listens.
        process: its process.
        env: its environment.
        spool: its spool directory.
        receiver: what its spans are sent to.
        upstream: what its models are.
    """

    directory: Path
    url: str
    process: subprocess.Popen[bytes]
    env: dict[str, str]
    spool: Path
    receiver: OtlpReceiver
    upstream: OpenAIUpstream

    def stop(self) -> int:
        """Stops it as a container's host does, and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_TIMEOUT_S)


@contextlib.contextmanager
def litellm_proxy(
    directory: Path,
    upstream: OpenAIUpstream,
    receiver: OtlpReceiver,
    *,
    server_spans: bool = True,
    env: Mapping[str, str | None] | None = None,
) -> Iterator[LiteLLMProxy]:
    """Runs a proxy while the `with` block does.

    Args:
        directory: an empty directory.
        upstream: what its models, `assistant`, `embedder` and `painter`, are.
        receiver: what its spans are sent to.
        server_spans: whether the server's requests have spans, by what is installed.
        env: what to change in its environment; None takes a variable away.
    """
    parameters = {"api_base": upstream.base_url, "api_key": PROVIDER_KEY}
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{model}", **parameters}}
        for name, model in _MODELS.items()
    ]
    passed = {"path": PASSED, "target": f"{upstream.base_url}/chat/completions"}
    passed["headers"] = {"Authorization": f"Bearer {PROVIDER_KEY}"}
    settings = {**_GENERAL, "pass_through_endpoints": [passed]}
    config = {"model_list": models, "general_settings": settings, **_CONFIG}
    (directory / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    (directory / "handler.py").write_text(_HANDLER)
    spool = directory / "spool"
    changes = {
        "CALLSPAN_SPOOL_DIR": str(spool),
        "OPENAI_API_BASE": f"http://127.0.0.1:{upstream.port}",  # of what it passes on as it comes
        "OPENAI_API_KEY": PROVIDER_KEY,
        "ANTHROPIC_API_BASE": f"http://127.0.0.1:{upstream.port}",
        "ANTHROPIC_API_KEY": PROVIDER_KEY,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",  # a distro has its own default
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "litellm",  # others', which would record each call again
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **({} if server_spans else _WITHOUT_SERVER_SPANS),
        **(env or {}),
    }
    environ = environment(changes)
    port = _free_port()
    address = ("--host", "127.0.0.1", "--port", str(port))
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            # Without `--`, opentelemetry-instrument takes `--config` for an option of its own, in Python 3.11.
            [SCRIPTS / "opentelemetry-instrument", "--", SCRIPTS / "litellm", "--config", "config.yaml", *address],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=directory,
            start_new_session=True,
        )
    proxy = LiteLLMProxy(directory, f"http://127.0.0.1:{port}", process, environ, spool, receiver, upstream)
    try:
        _wait_until_alive(proxy)
        yield proxy
        if process.poll() is None:
            proxy.stop()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _wait_until_alive(proxy: LiteLLMProxy) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and proxy.process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{proxy.url}/health/liveliness", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError(f"the proxy did not start\n{(proxy.directory / 'output').read_text(errors='replace')}")
