"""A third party: prints each delivery in one line, checks its signature, and counts what comes twice.

It shows what a receiver of one's own has to do: check the signature by Standard Webhooks, tell deliveries apart by
`webhook-id`, answer soon with a status of 2xx. `GET /` answers with the counts. Needs Python's own library only.

    WEBHOOK_SECRET   the secret of the subscription; without one, signatures are not checked
    RECEIVER_DELAY   seconds to wait before each answer, to try out what a slow third party does
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = ("0.0.0.0", 8000)
TOLERANCE = 300  # seconds that a signature may be old: what is older may be somebody's recording


class Deliveries:
    """Counts deliveries by their `webhook-id`. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: Counter[str] = Counter()

    def add(self, delivery: str) -> int:
        """Count a delivery; returns how many times it has come by now."""
        with self._lock:
            self._times[delivery] += 1
            return self._times[delivery]

    def counts(self) -> dict[str, int]:
        """Return how many requests came, how many deliveries they were, and how many of these came more than once."""
        with self._lock:
            times = list(self._times.values())
        return {"requests": sum(times), "deliveries": len(times), "repeated": sum(count > 1 for count in times)}


def is_genuine(secret: str, headers: Message, body: bytes) -> bool:
    """Return whether the body was signed with the secret, and lately.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    delivery, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    try:
        age = int(time.time()) - int(timestamp)  # whole numbers: strangers may send one that no float holds
    except ValueError:
        return False
    if abs(age) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{delivery}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    # There may be several, apart by spaces: while a secret is being changed, the old and the new one.
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in given)


class Handler(BaseHTTPRequestHandler):
    """Takes a delivery by POST, answers the counts to a GET."""

    protocol_version = "HTTP/1.1"  # keeps connections open
    secret = os.environ.get("WEBHOOK_SECRET", "")
    delay = float(os.environ.get("RECEIVER_DELAY", "0"))
    deliveries = Deliveries()

    def do_GET(self) -> None:
        """Answer with the counts."""
        self._answer(200, json.dumps(self.deliveries.counts()).encode() + b"\n")

    def do_POST(self) -> None:
        """Check, count and print a delivery."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        delivery = self.headers.get("webhook-id", "")
        if self.secret and not is_genuine(self.secret, self.headers, body):
            say(f"REFUSED, its signature is not right: {delivery}")
            self._answer(401)
            return
        if self.delay:
            time.sleep(self.delay)
        times = self.deliveries.add(delivery)
        say(f"{describe(json.loads(body))}  webhook-id {delivery}{f'  came {times} times' if times > 1 else ''}")
        self._answer(204)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: a delivery has its own line."""


class Server(ThreadingHTTPServer):
    """One thread a connection; many may come at once."""

    request_queue_size = 1024


def describe(payload: dict[str, Any]) -> str:
    """Return what happened, in a few words."""
    about = payload["attributes"]
    name = about.get("number", about.get("id", about.get("environment", "")))
    return f"{payload.get('model')} {name} {payload.get('action')} in product {payload['product']['id']}"


def say(line: str) -> None:
    """Print one line whole, although many threads print."""
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    server = Server(ADDRESS, Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    say(f"listening on port {ADDRESS[1]}; signatures are {'checked' if Handler.secret else 'not checked'}")
    server.serve_forever()


if __name__ == "__main__":
    main()
