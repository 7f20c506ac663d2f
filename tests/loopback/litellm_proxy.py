"""The real LiteLLM proxy under `opentelemetry-instrument`, between a client of the test's and the loopback OpenAI."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loopback import openai_api
from loopback.openai_api import Answer, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import SCRIPTS, environment

MASTER_KEY: Final = "sk-master-of-the-loopback-proxy"
PROVIDER_KEY: Final = "sk-provider-of-the-loopback-proxy"

_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 30.0
_IMAGES: Final = "/v1/images/generations"
_IMAGE: Final = {
    "created": 1_700_000_000,
    "data": [{"b64_json": "aGVsbG8="}],
    "usage": {
        "input_tokens": 11,
        "output_tokens": 7,
        "total_tokens": 18,
        "input_tokens_details": {"text_tokens": 11, "image_tokens": 0},
    },
}


class _Handler(openai_api._Handler):
    def _obey(self, behaviour: Any, request: Any) -> None:
        if request.path == _IMAGES and isinstance(behaviour, Answer):
            self._reply(200, _IMAGE, {})
        else:
            super()._obey(behaviour, request)


class Upstream(OpenAIUpstream):
    """The loopback OpenAI, which makes images as well."""

    handler = _Handler


@dataclass(frozen=True, slots=True)
class LiteLLMProxy:
    """A running proxy.

    Attributes:
        directory: where its configuration is, and what its callbacks write.
        url: where it listens.
        process: its process.
        spool: its spool directory.
        receiver: what its spans are sent to.
        upstream: what its models are.
    """

    directory: Path
    url: str
    process: subprocess.Popen[bytes]
    spool: Path
    receiver: OtlpReceiver
    upstream: OpenAIUpstream

    @property
    def output(self) -> str:
        """What it has printed."""
        return (self.directory / "output").read_text(errors="replace")

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
    config: Mapping[str, Any] | None = None,
    env: Mapping[str, str | None] | None = None,
) -> Iterator[LiteLLMProxy]:
    """Runs a proxy while the `with` block does.

    Args:
        directory: an empty directory; modules that the configuration names are found in it.
        upstream: what its models, `assistant`, `embedder` and `painter`, are.
        receiver: what its spans are sent to.
        config: sections to add to its configuration.
        env: what to change in its environment; None takes a variable away.
    """
    models = {"assistant": "gpt-4o-mini", "embedder": "text-embedding-3-small", "painter": "gpt-image-1"}
    parameters = {"api_base": upstream.base_url, "api_key": PROVIDER_KEY}
    written = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{model}", **parameters}}
            for name, model in models.items()
        ],
        "general_settings": {"master_key": MASTER_KEY},
        **(config or {}),
    }
    (directory / "config.yaml").write_text(json.dumps(written))  # JSON is YAML
    spool = directory / "spool"
    own = {
        "CALLSPAN_SPOOL_DIR": str(spool),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONUNBUFFERED": "1",
    }
    port = _free_port()
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            # Without `--`, opentelemetry-instrument takes `--config` for an option of its own, in Python 3.11.
            [str(SCRIPTS / "opentelemetry-instrument"), "--", str(SCRIPTS / "litellm")]
            + ["--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment({**own, **(env or {})}),
            cwd=directory,
            start_new_session=True,
        )
    proxy = LiteLLMProxy(directory, f"http://127.0.0.1:{port}", process, spool, receiver, upstream)
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
    raise AssertionError(f"the proxy did not start\n{proxy.output}")
