"""Subscriptions that change under load, on the real Kafka: refused where they are broken, and nothing is ever lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from installation import Installation, Replica, eventually
from receivers import Receiver
from sequences import ITEMS, Switch, event, first_deliveries, in_order

from consumer.event import Outgoing

CHANGES, PACE = 1000, 0.01  # seconds between two
BATCHES, BATCH = 6, 400


class Mounted:
    """A subscriptions file as Kubernetes mounts one: by a link in a folder that is a link, which is set anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self.path = folder / "subscriptions.yaml"
        self.path.symlink_to("..data/subscriptions.yaml")

    def set(self, text: str) -> None:
        self._number += 1
        new = self._folder / f"..{self._number}"
        new.mkdir()
        (new / "subscriptions.yaml").write_text(text)
        (self._folder / "..next").symlink_to(new.name)
        os.replace(self._folder / "..next", self._folder / "..data")


def text(**urls: str) -> str:
    entries: list[dict[str, Any]] = [
        {"id": id_, "product": "*", "service": "webhook", "options": {"urls": url}} for id_, url in urls.items()
    ]
    return yaml.safe_dump({"subscriptions": entries})


def variants(url: str) -> Iterator[str]:
    """Yield other subscriptions each time: one that stays, one that moves to and fro, one that comes and goes."""
    for number in range(CHANGES):
        guest = {f"guest-{number % 5}": f"{url}/guest"} if number % 2 else {}
        yield text(steady=f"{url}/steady", moving=f"{url}/moving-{number % 3}", **guest)


def change(mounted: Mounted, texts: Iterator[str]) -> None:
    """Make all changes, as many a second as let the replica take in some dozens of them between the others."""
    pace = threading.Event()
    for each in texts:
        mounted.set(each)
        pace.wait(PACE)


def shown(replica: Replica, metric: str) -> float:
    lines = replica.get("/metrics").splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"sprintly_{metric} ")), 0)


def test_a_broken_file_is_refused_and_a_thousand_changes_under_load_lose_nothing(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    made = Installation(kafka_bootstrap, tmp_path)
    made.create_topics()
    mounted, switch = Mounted(tmp_path), Switch()
    with Receiver(switch) as receiver:
        url = receiver.url
        mounted.set(text(steady=f"{url}/steady", moving=f"{url}/moving-0"))
        with made.consuming() as replica:
            replica.wait_until_ready()
            eventually(lambda: not replica.reasons(), "it is not ready", replica)

            mounted.set(text(other=f"{url}/other") + "- id: what\n")
            eventually(lambda: "refused" in replica.reasons().get("subscriptions", ""), "it is not refused", replica)
            assert shown(replica, "configuration_refused") == 1
            made.produce(*map(event, range(ITEMS)))
            eventually(lambda: switch.count("/steady") == ITEMS, "the former ones are not active", replica)
            assert switch.count("/other") == 0
            mounted.set(text(steady=f"{url}/steady", moving=f"{url}/moving-1"))
            eventually(lambda: not replica.reasons(), "it does not recover", replica)
            assert shown(replica, "configuration_generation") == 2

            changing = threading.Thread(target=change, args=(mounted, variants(url)))
            changing.start()
            count = ITEMS
            for _ in range(BATCHES):
                made.produce(*map(event, range(count, count + BATCH)))
                count += BATCH
            changing.join()
            mounted.set(text(steady=f"{url}/steady", moving=f"{url}/moving-0"))
            eventually(lambda: made.finished(count), "it does not come to its end", replica)
            moved = [f"/moving-{number}" for number in range(3)]
            eventually(lambda: sum(map(switch.count, moved)) >= count, "not all arrived at what moves", replica)
            eventually(lambda: not replica.reasons(), "it is not ready", replica)
            assert shown(replica, "configuration_generation") > 5
            replica.process.send_signal(signal.SIGHUP)
            again = 'configuration_reloads_total{result="unchanged"}'
            eventually(lambda: shown(replica, again) >= 1, "it is not read again", replica)
            assert replica.stop() == 0
    assert first_deliveries(switch.delivered, "/steady") == in_order(count)
    assert len([got for got in switch.delivered if got.path == "/steady"]) == count
    moving = [got._replace(path=got.path.partition("-")[0]) for got in switch.delivered]
    assert first_deliveries(moving, "/moving") == in_order(count)
    assert made.dead_letters() == []


def test_what_is_set_in_the_topic_is_taken_in_by_replicas_that_run(kafka_bootstrap: str, tmp_path: Path) -> None:
    made = Installation(kafka_bootstrap, tmp_path)
    made.environ["SPRINTLY_SUBSCRIPTIONS"] = f"kafka:{made.topic}.subscriptions"
    made.create_topics()
    switch = Switch()
    with Receiver(switch) as receiver:
        made.subscribe(one=f"{receiver.url}/one", two=f"{receiver.url}/two")
        made.do("subscriptions", "set", str(made.subscriptions))
        with made.consuming() as replica:
            replica.wait_until_ready()
            made.produce(*map(event, range(ITEMS)))
            eventually(lambda: switch.count("/two") == ITEMS, "not all arrived", replica)

            made.subscribe(two=f"{receiver.url}/moved", three=f"{receiver.url}/three")
            made.do("subscriptions", "set", str(made.subscriptions), "--prune", "--yes")
            said = lambda: shown(replica, "configuration_generation") > 1 and 'removed": 1' in replica.text  # noqa: E731
            eventually(said, "it is not taken in", replica)
            made.produce(*map(event, range(ITEMS, 2 * ITEMS)))
            eventually(lambda: made.finished(2 * ITEMS), "it does not come to its end", replica)
            assert [switch.count(path) for path in ("/one", "/two", "/moved", "/three")] == [ITEMS] * 4

            bad = Outgoing(f"{made.topic}.subscriptions", b"two", b"{}")
            made.produce_raw(bad)
            eventually(lambda: shown(replica, "subscriptions_set_aside") == 1, "it is not set aside", replica)
            assert replica.reasons() == {}
            made.produce(*map(event, range(2 * ITEMS, 3 * ITEMS)))
            eventually(lambda: made.finished(3 * ITEMS), "it does not come to its end", replica)
            assert (switch.count("/moved"), switch.count("/three")) == (ITEMS, 2 * ITEMS)
            made.do("subscriptions", "set", str(made.subscriptions))
            eventually(lambda: switch.count("/moved") == 2 * ITEMS, "it does not get what it waited for", replica)
            assert replica.stop() == 0
