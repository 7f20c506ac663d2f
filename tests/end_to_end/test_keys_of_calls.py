"""Keys that single calls carry, as LiteLLM's users give them: each call is recorded in the account of its key."""

import base64
import hashlib
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

from callspan_exporters._spool import read_accounts
from loopback.otlp_receiver import OtlpReceiver, RefuseKeys
from loopback.posthog_api import PostHogApi
from loopback.processes import run_python

PROGRAM = """
import os, signal, sys, time, dataclasses
import litellm, callspan
from callspan_exporters import OTLPDestination
from callspan_exporters.destination import SettingError

def account(values):
    if "langfuse_public_key" not in values or "langfuse_secret_key" not in values:
        raise SettingError("langfuse_secret_key is not given with the call")
    endpoint = values.get("langfuse_host", os.environ["ENDPOINT"]) + "/v1/traces"
    return dataclasses.replace(ours, endpoint=endpoint, headers={{"authorization": values["langfuse_secret_key"]}})

ours = OTLPDestination(
    os.environ["ENDPOINT"] + "/v1/traces", headers={{"authorization": "ours"}}, kind="langfuse", of_call=account
)

def call(name, customer=None, **more):
    keys = dict(langfuse_public_key=f"pk-{{customer}}", langfuse_secret_key=f"sk-{{customer}}") if customer else {{}}
    litellm.completion(
        model=name, custom_llm_provider="openai", messages=[{{"role": "user", "content": "hi"}}], mock_response="hello",
        api_key="sk-none", **keys, **more,
    )

def failing(name, mock_response, **more):
    litellm.completion(name, [], custom_llm_provider="openai", mock_response=mock_response, **more)

callspan.instrument(destinations=[ours])
{body}
"""


def run(receiver: OtlpReceiver, body: str, *, env: Mapping[str, str] | None = None, check: bool = True):
    program = PROGRAM.format(body=body)
    return run_python(program, env={"ENDPOINT": receiver.endpoint, **(env or {})}, check=check)


def printed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that a program has printed, without what LiteLLM has to say of models that it does not know."""
    return [line for line in done.stdout.splitlines() if line and "Provider List" not in line]


def by_key(*receivers: OtlpReceiver) -> dict[str, Counter[str]]:
    """The names of the models whose spans came with each key."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for receiver in receivers:
        for request, spans in receiver.batches:
            found[request.headers["authorization"]].update(span.name.removeprefix("chat ") for span in spans)
    return dict(found)


def digest(customer: str, **more: str) -> str:
    values = {"langfuse_public_key": f"pk-{customer}", "langfuse_secret_key": f"sk-{customer}", **more}
    return hashlib.sha256("\0".join(f"{name}={values[name]}" for name in sorted(values)).encode()).hexdigest()[:16]


def books(spool: Path) -> dict[str, tuple[int, int, int]]:
    """Accepted, delivered and pending by account: `""` for our own."""
    found = {}
    for account in read_accounts(spool):
        assert account.accepted == account.delivered + account.rejected + account.expired + account.pending
        whose = account.destination.partition(" call~")[2]
        found[whose] = (account.accepted, account.delivered, account.pending)
    return found


def test_each_call_goes_to_the_account_of_its_key(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """One request for each account, however the calls are mixed, and no key on disk."""
    run(otlp_receiver, "for n in range(4): call(f'o{n}'); call(f'a{n}', 'ann'); call(f'b{n}', 'bob')")
    assert by_key(otlp_receiver) == {
        "ours": Counter({f"o{n}": 1 for n in range(4)}),
        "sk-ann": Counter({f"a{n}": 1 for n in range(4)}),
        "sk-bob": Counter({f"b{n}": 1 for n in range(4)}),
    }
    assert len(otlp_receiver.requests) == 3
    assert books(spool_dir) == {"": (12, 12, 0)}
    spans = {span.name: span.attributes for span in otlp_receiver.spans}
    assert spans["chat a0"]["callspan.credential.langfuse"] == digest("ann")
    assert not any(key.startswith("callspan.credential") for key in spans["chat o0"])


def test_a_key_in_the_metadata_counts_and_is_not_recorded(otlp_receiver: OtlpReceiver) -> None:
    keys = '{"langfuse_public_key": "pk-ann", "langfuse_secret_key": "sk-ann", "plan": "pro"}'
    run(otlp_receiver, f"call('m', metadata={keys})")
    assert by_key(otlp_receiver) == {"sk-ann": Counter(m=1)}
    text = str(otlp_receiver.spans[0].span)
    assert "pk-ann" not in text
    assert "sk-ann" not in text
    assert otlp_receiver.spans[0].attributes["callspan.metadata.plan"] == "pro"


def test_what_others_record_below_a_call_goes_along(otlp_receiver: OtlpReceiver) -> None:
    """A tree is in one account: the spans of an HTTP client, a tool or a callback are where their call is."""
    body = """
from opentelemetry import trace
class Custom(litellm.CustomLLM):
    def completion(self, *args, **kwargs):
        with trace.get_tracer("http").start_as_current_span("POST"):
            return litellm.mock_completion(model="m", messages=[], mock_response="hello")
litellm.custom_provider_map = [{"provider": "ours", "custom_handler": Custom()}]
with trace.get_tracer("app").start_as_current_span("request"):
    litellm.completion(model="ours/m", messages=[{"role": "user", "content": "hi"}],
                       langfuse_public_key="pk-ann", langfuse_secret_key="sk-ann")
"""
    run(otlp_receiver, body)
    found = by_key(otlp_receiver)
    assert found["ours"] == Counter(request=1)
    assert found["sk-ann"]["POST"] == 1
    assert found["sk-ann"]["ours/m"] == 1


def test_a_wrong_key_delays_no_other(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """What its account does not take waits by itself, is said once, and goes when the key is right."""
    otlp_receiver.default = RefuseKeys(frozenset({"sk-bob"}))
    many = "for n in range(3): call(f'o{n}'); call(f'a{n}', 'ann'); call(f'b{n}', 'bob')"
    done = run(otlp_receiver, f"{many}\nprint(callspan.force_flush(3.0))\n{many}")
    assert printed(done) == ["False"]
    assert {key: found.total() for key, found in by_key(otlp_receiver).items()} == {"ours": 6, "sk-ann": 6}
    assert books(spool_dir) == {"": (12, 12, 0), digest("bob"): (6, 0, 6)}
    warnings = [line for line in done.stderr.splitlines() if "401" in line and "does not take spans" in line]
    assert len(warnings) == 1
    assert f"call~{digest('bob')}" in warnings[0]

    otlp_receiver.default = RefuseKeys(frozenset())
    run(otlp_receiver, "call('later', 'bob'); time.sleep(0.1)")
    assert by_key(otlp_receiver)["sk-bob"] == Counter({f"b{n}": 2 for n in range(3)}) + Counter(later=1)
    assert books(spool_dir) == {"": (13, 13, 0), digest("bob"): (6, 6, 0)}


def test_a_host_of_a_call_that_is_down_delays_no_other(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    with OtlpReceiver() as of_bob:
        host = of_bob.endpoint
        of_bob.down()
        body = f"for n in range(3): call(f'o{{n}}'); call(f'b{{n}}', 'bob', langfuse_host={host!r})\n"
        run(otlp_receiver, body)
        assert by_key(otlp_receiver) == {"ours": Counter(o0=1, o1=1, o2=1)}
        bob = digest("bob", langfuse_host=host)
        assert books(spool_dir)[bob] == (3, 0, 3)
        of_bob.up()
        run(otlp_receiver, f"call('b3', 'bob', langfuse_host={host!r}); time.sleep(0.1)")
        assert by_key(of_bob) == {"sk-bob": Counter(b0=1, b1=1, b2=1, b3=1)}
        assert books(spool_dir)[bob] == (3, 3, 0)


def test_a_destination_that_is_down_keeps_all_where_they_are(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """Its outage is no reason to put spans aside: they go in order when it is back."""
    otlp_receiver.down()
    run(otlp_receiver, "for n in range(3): call(f'o{n}'); call(f'a{n}', 'ann')")
    run(otlp_receiver, "call('a3', 'ann')")
    assert set(books(spool_dir)) == {""}
    otlp_receiver.up()
    run(otlp_receiver, "call('a4', 'ann'); time.sleep(0.1)")
    found = by_key(otlp_receiver)
    assert found["ours"] == Counter(o0=1, o1=1, o2=1)
    assert found["sk-ann"] == Counter(a0=1, a1=1, a2=1, a3=1, a4=1)


def test_after_a_crash_an_unknown_key_leaves_its_spans_pending(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """Nothing of a key is on disk; whoever has it sends its spans, and says until then that they wait."""
    otlp_receiver.down()
    body = "for n in range(3): call(f'o{n}'); call(f'a{n}', 'ann')\nos.kill(os.getpid(), signal.SIGKILL)"
    assert run(otlp_receiver, body, check=False).returncode == -signal.SIGKILL
    stored = b"".join(path.read_bytes() for path in spool_dir.rglob("*") if path.is_file())
    assert b"chat a0" in stored
    assert b"k-ann" not in stored
    otlp_receiver.up()

    done = run(otlp_receiver, "call('other')")
    assert by_key(otlp_receiver) == {"ours": Counter(o0=1, o1=1, o2=1, other=1)}
    (said,) = [line for line in done.stderr.splitlines() if "does not know" in line]
    assert "3 spans" in said
    assert digest("ann") in said
    assert books(spool_dir) == {"": (4, 4, 0), digest("ann"): (3, 0, 3)}

    drained = run_python("from callspan_exporters.cli import main; raise SystemExit(main(['status']))")
    assert f"call~{digest('ann')}" in drained.stdout
    run(otlp_receiver, "call('a3', 'ann'); time.sleep(0.1)")
    assert by_key(otlp_receiver)["sk-ann"] == Counter(a0=1, a1=1, a2=1, a3=1)
    assert books(spool_dir) == {"": (5, 5, 0), digest("ann"): (3, 3, 0)}


def test_a_key_that_is_not_enough(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """It is said what is missing, and nobody else's key is used instead."""
    done = run(otlp_receiver, "call('o'); call('x', langfuse_public_key='pk-ann'); callspan.force_flush(3.0)")
    assert by_key(otlp_receiver) == {"ours": Counter(o=1)}
    (said,) = [line for line in done.stderr.splitlines() if "langfuse_secret_key is not given" in line]
    assert "pk-ann" not in said
    assert sorted(pending for _, _, pending in books(spool_dir).values()) == [0, 1]


@pytest.mark.parametrize("wrong", [True, False], ids=["a wrong key", "right keys"])
def test_without_a_disk(otlp_receiver: OtlpReceiver, wrong: bool) -> None:
    otlp_receiver.default = RefuseKeys(frozenset({"sk-bob"} if wrong else ()))
    many = "for n in range(3): call(f'o{n}'); call(f'b{n}', 'bob'); call(f'a{n}', 'ann')\n"
    done = run(otlp_receiver, f"{many}callspan.force_flush(2.0)\n{many}", env={"CALLSPAN_SPOOL": "off"})
    found = {key: names.total() for key, names in by_key(otlp_receiver).items()}
    assert found == {"ours": 6, "sk-ann": 6} | ({} if wrong else {"sk-bob": 6})
    assert ("6 spans" in done.stderr) is wrong


def test_a_forked_child_knows_the_keys(otlp_receiver: OtlpReceiver) -> None:
    body = """
call('parent', 'ann'); callspan.force_flush(3.0)
if os.fork() == 0:
    call('child', 'ann'); call('own')
    sys.exit()
os.wait()
"""
    run(otlp_receiver, body)
    assert by_key(otlp_receiver) == {"sk-ann": Counter(parent=1, child=1), "ours": Counter(own=1)}


def test_a_destination_that_is_removed_takes_its_accounts_along(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """What waits for them stays for who has the destination, and nothing more is sent to anybody."""
    otlp_receiver.default = RefuseKeys(frozenset({"sk-bob"}))
    body = """
import threading
call('b', 'bob'); callspan.force_flush(2.0)
names = lambda: sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("callspan langfuse"))
before = names()
callspan.instrument(destinations=[OTLPDestination("http://127.0.0.1:9/v1/traces")])
print(len(before), names())
"""
    assert printed(run(otlp_receiver, body)) == ["2 []"]
    assert books(spool_dir)[digest("bob")] == (1, 0, 1)


def test_an_error_does_not_tell_the_key(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    body = """
try:
    call("m", metadata={"langfuse_secret_key": "zz-very-private"}, mock_response=ValueError("no zz-very-private"))
except Exception as error:
    assert "zz-very-private" in str(error)
"""
    run(otlp_receiver, body.replace("call(", "failing("), env={"CALLSPAN_EXIT_BUDGET": "0"})
    stored = b"".join(path.read_bytes() for path in spool_dir.rglob("*") if path.is_file())
    assert b"[redacted]" in stored
    assert b"zz-very-private" not in stored


REAL = """
import litellm, callspan
callspan.instrument()
ask = dict(messages=[{"role": "user", "content": "hi"}], mock_response="hello")
litellm.completion(model="gpt-4o-mini", **ask)
litellm.completion(
    model="gpt-4o", posthog_api_key="phc_ann", langfuse_public_key="pk-ann", langfuse_secret_key="sk-ann",
    langsmith_api_key="lsv2_ann", langsmith_project="ann's", **ask,
)
"""


def test_with_the_vendors_of_the_keys(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """PostHog, Langfuse and LangSmith beside one another: to each the key of the call that is meant for it."""
    with PostHogApi() as posthog:
        run_python(
            REAL,
            env={
                "CALLSPAN_DESTINATIONS": "posthog,langfuse,langsmith",
                "POSTHOG_API_KEY": "phc_ours",
                "POSTHOG_API_URL": posthog.host,
                "LANGFUSE_PUBLIC_KEY": "pk-ours",
                "LANGFUSE_SECRET_KEY": "sk-ours",
                "LANGSMITH_API_KEY": "lsv2_ours",
                "LANGSMITH_PROJECT": "ours",
                "LANGFUSE_HOST": otlp_receiver.endpoint,
                "LANGSMITH_ENDPOINT": otlp_receiver.endpoint,
            },
        )
        assert {(event.api_key, event.properties["$ai_model"]) for event in posthog.counted} == {
            ("phc_ours", "gpt-4o-mini"),
            ("phc_ann", "gpt-4o"),
        }
    found = {
        (headers.get("x-api-key") or headers["authorization"], headers.get("langsmith-project"), spans[0].name)
        for headers, spans in ((request.headers, spans) for request, spans in otlp_receiver.batches)
    }
    basic = {name: "Basic " + base64.b64encode(f"pk-{name}:sk-{name}".encode()).decode() for name in ("ours", "ann")}
    assert found == {
        ("lsv2_ours", "ours", "chat gpt-4o-mini"),
        ("lsv2_ann", "ann's", "chat gpt-4o"),
        (basic["ours"], None, "chat gpt-4o-mini"),
        (basic["ann"], None, "chat gpt-4o"),
    }
    assert all(account.pending == account.rejected == 0 for account in read_accounts(spool_dir))


def test_what_litellm_takes_from_no_request_is_not_taken(otlp_receiver: OtlpReceiver) -> None:
    """New Relic's and Datadog's keys are the proxy's to set for a team; a request that names one is as any other."""
    body = """
from callspan._litellm.credentials import carried
print(carried({"newrelic_api_key": "a", "dd_api_key": "b", "metadata": {"newrelic_api_key": "c"}}))
print(carried({"litellm_trusted_callback_vars": {"newrelic_api_key": "d", "gcs_bucket_name": "e"}}))
print(carried({"posthog_api_key": "os.environ/KEY", "langfuse_host": 7, "langsmith_api_key": ""}))
"""
    assert printed(run(otlp_receiver, body)) == ["{}", "{'newrelic': {'newrelic_api_key': 'd'}}", "{}"]
