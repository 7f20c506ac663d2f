"""An OTLP/gRPC receiver that parses nothing and keeps nothing: ``python tests/benchmarks/discarding_grpc_receiver.py``.

Prints its port and serves until its standard input ends.
"""
# ruff: noqa: T201  what it prints is how it is found

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"

if __name__ == "__main__":
    export = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {"Export": export})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    os._exit(0)
