"""What a channel is made with: keepalive, sizes, trust. Shared by both kinds of client."""

import ssl

from .contexts import Endpoint

# A page of 1000 VMs that all have the largest metadata is about 34 MiB.
_MAX_ANSWER_BYTES = 64 * 1024 * 1024

OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # What is sent again is decided in rule.py alone.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A connection of our own: another client's failures stay its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


def roots(endpoint: Endpoint) -> bytes | None:
    """The CAs to trust: the ones given, else this machine's, else what grpcio brings."""
    if endpoint.ca is not None:
        return endpoint.ca
    machine = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, machine)).encode() or None


def metadata(endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
    if endpoint.token is None:
        return ()
    return (("authorization", f"Bearer {endpoint.token}"),)
