"""A Kafka that lets nobody in unasked: TLS, client certificates, SCRAM and OAuth tokens on listeners of their own, and
ACLs for whatever is done.

One more listener lets the tests administer it. Keys, certificates and the tokens' issuer are made for each run.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from kafka import SPARING, Container, own_kafka
from ports import LOOPBACK, free_port

INSIDE = "/secrets"  # where the broker sees its keys
ISSUER, AUDIENCE = "https://issuer.test", "kafka"
CLIENT, SECRET = "client-of-the-test", "client-secret-0815"  # what the tokens' issuer asks for


class Authority:
    """Somebody who signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(_pem(self._certificate))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Make a key and a certificate for the common name `name` on this machine; returns where they lie."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
        certificate = self._sign(subject, key, address)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        paths = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        paths[0].write_bytes(secret)
        paths[1].write_bytes(_pem(certificate))
        (self._folder / f"{name}.both").write_bytes(secret + _pem(certificate))
        return paths

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1)).add_extension(extension, critical=True)
        return builder.sign(self._key, hashes.SHA256())


class Issuer:
    """Gives out tokens, as an identity provider does, for the one client that it knows."""

    def __init__(self, subject: str) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self._subject = subject
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
                if self.headers.get("Authorization") == f"Basic {known}":
                    self._answer(200, {"access_token": issuer.token(), "token_type": "Bearer", "expires_in": 600})
                else:
                    self._answer(401, {"error": "invalid_client"})

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}/token"

    def __enter__(self) -> Issuer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keys(self) -> str:
        """The JSON Web Key Set by which tokens are verified."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": _number(numbers.n), "e": _number(numbers.e)}
        return json.dumps({"keys": [key]})

    def token(self) -> str:
        """A signed token for the subject, good for ten minutes."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": self._subject, "iat": now, "exp": now + 600}
        parts = ".".join(
            _base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT", "kid": "1"}, claims)
        )
        return f"{parts}.{_base64(self._key.sign(parts.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@dataclass
class Secured:
    """The broker, and what clients need to be let in."""

    container: Container
    authority: Authority
    issuer: Issuer
    folder: Path
    ports: dict[str, int]
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def admin(self) -> AdminClient:
        """A client that may do everything."""
        return AdminClient({"bootstrap.servers": self.container.bootstrap})

    def address(self, listener: str) -> str:
        """Where one of SCRAM, MTLS, OAUTH answers."""
        return f"{LOOPBACK}:{self.ports[listener]}"

    def add_user(self, name: str) -> None:
        """Let somebody in by a password."""
        self.passwords[name] = password = f"the-password-of-{name}"
        credential = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        admin = self.admin  # kept in a variable: the answers come no more once it is collected
        for future in admin.alter_user_scram_credentials([credential]).values():
            future.result()


@contextmanager
def secured_kafka(folder: Path, subject: str) -> Iterator[Secured]:
    """Run such a broker until the block ends; tokens are for `subject`. Raises KafkaUnavailable."""
    secrets = folder / "broker"
    secrets.mkdir()
    authority = Authority(secrets, "authority")
    authority.issue("broker")
    ports = {name: free_port() for name in ("SCRAM", "MTLS", "OAUTH")}
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer(subject))
        (secrets / "keys.json").write_text(issuer.keys())
        keys = f"file://{INSIDE}/keys.json"
        container = stack.enter_context(
            own_kafka(
                None,
                _properties(keys),
                also=ports,
                folder=(secrets, INSIDE),
                jvm=f"{SPARING} -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}",
            )
        )
        yield Secured(container, authority, issuer, folder, ports)


def _properties(keys: str) -> dict[str, str]:
    login = "org.apache.kafka.common.security"
    return {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
        "SCRAM:SASL_SSL,MTLS:SSL,OAUTH:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": f"{INSIDE}/broker.both",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": f"{INSIDE}/authority.pem",
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.mtls.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{login}.oauthbearer.OAuthBearerLoginModule required;",
        "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": f"{login}.oauthbearer"
        ".OAuthBearerValidatorCallbackHandler",
        "listener.name.oauth.sasl.oauthbearer.jwks.endpoint.url": keys,
        "listener.name.oauth.sasl.oauthbearer.expected.audience": AUDIENCE,
        "listener.name.oauth.sasl.oauthbearer.expected.issuer": ISSUER,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",  # who comes by the tests' own listener, and the broker itself
    }


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
