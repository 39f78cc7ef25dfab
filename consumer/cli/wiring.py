"""How the objects hang together that most commands need: settings in, a cluster or a registry out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from consumer.broker.kafka import Kafka
from consumer.logs import configure, get_logger
from consumer.settings import Settings, unknown_variables

if TYPE_CHECKING:
    from consumer.registry import Registry


def load_settings(config: Path | None, *, log_level: str | None = None) -> Settings:
    """Read the environment, set logging up, and warn of variables that look like settings and are none.

    Commands for people pass the `log_level` that they want at least; `consume` logs as the settings say.
    """
    settings = Settings.load(os.environ, config)
    configure(settings.log_format, log_level or settings.log_level)
    for sentence in unknown_variables(os.environ):
        get_logger("settings").warning(sentence)
    return settings


def kafka(settings: Settings, *, embedded: bool = False) -> Kafka:
    """Return the cluster of the settings; `embedded` if it is the mock cluster of this process."""
    return Kafka(
        settings.bootstrap_servers,
        settings.group_id,
        protocol=settings.group_protocol,
        properties=settings.kafka,
        transaction_timeout=settings.transaction_timeout,
        embedded=embedded,
    )


def registry(settings: Settings) -> Registry | None:
    """Return the schema registry of the settings; None if there is none."""
    if settings.schema_registry_url is None:
        return None
    from consumer.registry import Registry  # few need it, and it takes its time to import

    return Registry(settings.schema_registry_url, ca_bundle(settings))


def ca_bundle(settings: Settings) -> Path | None:
    """Return the authorities of the settings, or those that OpenSSL's own variable names; without, certifi's count."""
    named = os.environ.get("SSL_CERT_FILE")
    return settings.ca_bundle or (Path(named) if named else None)
