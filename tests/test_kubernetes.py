"""The manifests are what Kubernetes and KEDA take, and agree with each other, the image and the settings."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from manifests import FOLDER, INSTALLED, KEDA, REQUIRED, SCALING, files, keda_schemas, manifests, one
from prometheus import promtool

from consumer.egress import EgressPolicy
from consumer.metrics import KINDS, Counter, Metrics
from consumer.pipeline import LAST_CYCLE, LEAVE
from consumer.settings import Settings, unknown_variables
from consumer.subscriptions import available, load_subscriptions
from consumer.topics import DEFAULT_PARTITIONS

DOCKERFILE = (FOLDER.parent.parent / "Dockerfile").read_text("utf-8")
DOCUMENT = (FOLDER.parent.parent / "docs/kubernetes.md").read_text("utf-8")
OLDEST = "1.27"  # of Kubernetes, that has all that is used here
PLACEHOLDER = "REPLACE-ME"
KINDS_OF_KEDA = ("ScaledObject", "TriggerAuthentication")
OWN = [each for each in manifests() if each["apiVersion"] != KEDA]
FOR_KEDA = [each for each in manifests() if each["apiVersion"] == KEDA]


def named(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    return one("Deployment")


@pytest.fixture(scope="module")
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    """The variables of a replica."""
    return {**one("ConfigMap", "sprintly-services")["data"], **one("Secret", "sprintly-services")["stringData"]}


@pytest.fixture(scope="module")
def triggers() -> dict[str, dict[str, str]]:
    return {each["type"]: each["metadata"] for each in one("ScaledObject")["spec"]["triggers"]}


# -- what Kubernetes and KEDA take


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", OWN, ids=named)
def test_kubernetes_takes_it(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_what_kubernetes_does_not_know_is_noticed(deployment: dict[str, Any]) -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment | {"replicas": 3}, OLDEST, strict=True)


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """KEDA's schemas. Without them the tests are skipped; they fail where they are required.

    SPRINTLY_REQUIRE_KEDA=1 and CI=true require them.
    """
    if not INSTALLED.exists():
        reason = "needs KEDA's schema, which `make test` installs from deploy/kubernetes/scaling/schema.lock"
        (pytest.fail if REQUIRED else pytest.skip)(reason)
    return keda_schemas(*KINDS_OF_KEDA)


@pytest.mark.parametrize("manifest", FOR_KEDA, ids=named)
def test_keda_takes_it(manifest: dict[str, Any], schemas: dict[str, Any]) -> None:
    jsonschema.validate(manifest, schemas[manifest["kind"]])


@pytest.mark.parametrize(
    "change",
    [{"minReplicas": 1}, {"minReplicaCount": "1"}, {"triggers": [{"type": "kafka"}]}, {"scaleTargetRef": {}}],
    ids=lambda change: next(iter(change)),
)
def test_what_keda_does_not_know_is_noticed(change: dict[str, Any], schemas: dict[str, Any]) -> None:
    scaled = one("ScaledObject")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaled | {"spec": scaled["spec"] | change}, schemas["ScaledObject"])


@pytest.mark.parametrize("folder", [FOLDER, SCALING], ids=lambda folder: folder.name)
def test_kustomize_is_told_of_each_file(folder: Path) -> None:
    told = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    assert {path.name for path in folder.glob("*.yaml")} == {"kustomization.yaml", *told["resources"]}
    assert {each["metadata"].get("namespace", told["namespace"]) for each in manifests()} == {told["namespace"]}


# -- how they hang together


def test_all_mean_the_same_pods(deployment: dict[str, Any], pod: dict[str, Any]) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"],
        one("PodDisruptionBudget")["spec"]["selector"],
        one("NetworkPolicy")["spec"]["podSelector"],
        *(each["labelSelector"] for each in pod["topologySpreadConstraints"]),
    ]
    assert [each["matchLabels"] for each in selectors] == [labels] * len(selectors)
    assert one("ScaledObject")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert pod["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]


def test_ports_are_that_of_the_settings(deployment: dict[str, Any], container: dict[str, Any]) -> None:
    http = Settings.load({}).http
    assert http is not None
    assert container["ports"] == [{"name": "metrics", "containerPort": http.port}]
    assert f"EXPOSE {http.port}" in DOCKERFILE
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(http.port)
    probes = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert {name: (probe["port"], probe["path"]) for name, probe in probes.items()} == {
        "startupProbe": ("metrics", "/livez"),
        "livenessProbe": ("metrics", "/livez"),
        "readinessProbe": ("metrics", "/readyz"),
    }
    (ingress,) = one("NetworkPolicy")["spec"]["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": "metrics"}]


def test_there_is_time_for_an_orderly_end(pod: dict[str, Any], environ: dict[str, str]) -> None:
    settings = Settings.load(environ)
    longest = settings.revoke_timeout + settings.drain_timeout + LAST_CYCLE + LEAVE
    assert pod["terminationGracePeriodSeconds"] >= longest + 10


def test_a_rollout_starts_one_before_it_stops_one(deployment: dict[str, Any]) -> None:
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in deployment["spec"], "applying it again would undo the scaling"


def test_nothing_more_is_allowed_than_the_image_needs(pod: dict[str, Any], container: dict[str, Any]) -> None:
    context = pod["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in DOCKERFILE
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is one("ServiceAccount")["automountServiceAccountToken"] is False
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]


def test_variables_are_settings(environ: dict[str, str], container: dict[str, Any]) -> None:
    assert unknown_variables(environ) == []
    assert all(name.startswith("SPRINTLY_") for name in environ)
    Settings.load(environ)
    sources = [next(iter(each.values()))["name"] for each in container["envFrom"]]
    assert sources == [one("ConfigMap", "sprintly-services")["metadata"]["name"], "sprintly-services"]


def test_no_secret_is_a_real_one(environ: dict[str, str]) -> None:
    assert not [each for each in manifests() if each["kind"] == "Secret" and "data" in each]
    assert json.loads(environ["SPRINTLY_KAFKA"])["sasl.password"] == PLACEHOLDER
    assert one("Secret", "sprintly-scaling")["stringData"]["password"] == PLACEHOLDER
    for value in one("Secret", "sprintly-options")["stringData"].values():
        assert set(b64decode(value.removeprefix("whsec_")).decode().split("-")) == set(PLACEHOLDER.split("-"))


def test_subscriptions_arrive_in_running_pods_and_refer_to_mounted_secrets(
    pod: dict[str, Any], container: dict[str, Any], tmp_path: Path
) -> None:
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert not [mount for mount in mounts.values() if "subPath" in mount], "what is mounted so never changes"
    assert f"WORKDIR {mounts['subscriptions']['mountPath']}" in DOCKERFILE
    subscriptions = one("ConfigMap", volumes["subscriptions"]["configMap"]["name"])["data"]
    assert list(subscriptions) == [str(Settings.load({}).subscriptions)]
    for name, value in one("Secret", volumes["options"]["secret"]["secretName"])["stringData"].items():
        (tmp_path / name).write_text(value)
    text = subscriptions["subscriptions.yaml"].replace(mounts["options"]["mountPath"], str(tmp_path))
    (tmp_path / "subscriptions.yaml").write_text(text)
    assert [each.id for each in load_subscriptions(tmp_path / "subscriptions.yaml", {})] == ["example-hook"]


# -- where replicas may connect to


def allowed(address: str) -> bool:
    """Whether the rule about destinations lets an address through."""
    rules = [rule for rule in one("NetworkPolicy")["spec"]["egress"] if "ipBlock" in rule["to"][0]]
    (rule,) = rules
    blocks = [each["ipBlock"] for each in rule["to"]]
    of_kind = [b for b in blocks if ip_network(b["cidr"]).version == ip_address(address).version]
    return any(
        ip_address(address) in ip_network(block["cidr"])
        and not any(ip_address(address) in ip_network(network) for network in block["except"])
        for block in of_kind
    )


PUBLIC = ("1.1.1.1", "9.255.255.255", "11.0.0.0", "172.32.0.0", "198.20.0.1", "2606:4700::1111", "2a00:1450::1")
NOT_PUBLIC = (
    *("0.0.0.1", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "168.63.129.16", "169.254.169.254"),
    *("169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.19.255.255", "224.0.0.1"),
    *("255.255.255.255", "::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fec0::1", "ff02::1", "2002:7f00:1::"),
    *("2001::1", "2001:db8::1", "64:ff9b::a00:1", "::ffff:10.0.0.1", "192.0.2.1", "203.0.113.9", "3fff::1"),
)


def edges() -> Iterator[str]:
    """The first and the last address of each exception."""
    for rule in one("NetworkPolicy")["spec"]["egress"]:
        for block in (each["ipBlock"] for each in rule["to"] if "ipBlock" in each):
            for network in map(ip_network, block["except"]):
                yield from (str(network[0]), str(network[-1]))


@pytest.mark.parametrize("address", [*PUBLIC, *NOT_PUBLIC, *edges()])
def test_the_network_lets_through_what_replicas_themselves_would_connect_to(address: str) -> None:
    assert EgressPolicy().permits(address) is (address in PUBLIC)
    assert allowed(address) is (address in PUBLIC)


# -- scaling


def test_it_scales_by_the_group_the_topic_and_as_far_as_there_are_partitions(
    triggers: dict[str, dict[str, str]], environ: dict[str, str]
) -> None:
    settings, spec = Settings.load(environ), one("ScaledObject")["spec"]
    lag = triggers["kafka"]
    assert (lag["consumerGroup"], lag["topic"]) == (settings.group_id, settings.topic)
    assert lag["bootstrapServers"] == settings.bootstrap_servers
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, DEFAULT_PARTITIONS)
    authentication = one("TriggerAuthentication")
    named = {each.get("authenticationRef", {}).get("name") for each in spec["triggers"]}
    assert authentication["metadata"]["name"] in named
    kept = one("Secret", "sprintly-scaling")["stringData"]
    assert {each["key"] for each in authentication["spec"]["secretTargetRef"]} == kept.keys()


def test_the_query_asks_for_metrics_that_there_are(triggers: dict[str, dict[str, str]]) -> None:
    metrics = [metric for metric in vars(Metrics()).values() if isinstance(metric, KINDS)]
    names = {metric.name + "_total" * isinstance(metric, Counter) for metric in metrics}
    asked = set(re.findall(r"sprintly_\w+", triggers["prometheus"]["query"]))
    assert asked == {"sprintly_owed", "sprintly_behind_records", "sprintly_breakers"}
    assert asked <= names


def test_what_is_owed_by_services_with_a_rate_is_not_scaled_for(triggers: dict[str, dict[str, str]]) -> None:
    rated = sorted(name for name, service in available().items() if service.rate is not None)
    (left_out,) = re.findall(r'service!~"([^"]+)"', triggers["prometheus"]["query"])
    assert left_out.split("|") == rated
    assert "slack" in rated


SERIES = {  # by what it is about: series with their values, and what the query has to say
    "nothing is owed": ({}, 0),
    "catching up": (
        {'behind_records{pod="a",service="webhook"}': 50_000, 'owed{pod="a",service="webhook"}': 500},
        50_500,
    ),
    "two of them": ({'owed{pod="a",service="webhook"}': 300, 'owed{pod="b",service="email"}': 40}, 340),
    "one that is down": (
        {
            'behind_records{pod="a",service="webhook"}': 50_000,
            'breakers{pod="a",service="webhook",state="open"}': 1,
            'breakers{pod="a",service="webhook",state="closed"}': 7,
            'behind_records{pod="a",service="email"}': 70,
            'breakers{pod="a",service="email",state="open"}': 0,
            'behind_records{pod="b",service="webhook"}': 9,
            'breakers{pod="b",service="webhook",state="open"}': 0,
        },
        79,
    ),
    "one that is being tried, and one that is disabled": (
        {
            'behind_records{pod="a",service="webhook"}': 50_000,
            'breakers{pod="a",service="webhook",state="probing"}': 1,
            'behind_records{pod="a",service="email"}': 60_000,
            'breakers{pod="a",service="email",state="disabled"}': 1,
        },
        0,
    ),
    "one with a rate": ({'behind_records{pod="a",service="slack"}': 50_000}, 0),
}


@pytest.mark.usefixtures("promtool_there")
@pytest.mark.parametrize("case", SERIES)
def test_prometheus_counts_what_more_replicas_would_help_with(
    case: str, triggers: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    series, expected = SERIES[case]
    rule = {"record": "asked", "expr": triggers["prometheus"]["query"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "scaling", "rules": [rule]}]}))
    given = [
        {"series": f'sprintly_{name[:-1]},namespace="sprintly-services"}}', "values": f"{value}x5"}
        for name, value in series.items()
    ]
    elsewhere = {"series": 'sprintly_owed{pod="x",service="webhook",namespace="other"}', "values": "999x5"}
    asked = {"expr": "asked", "eval_time": "2m", "exp_samples": [{"labels": "asked", "value": expected}]}
    test = {"interval": "1m", "input_series": [*given, elsewhere], "promql_expr_test": [asked]}
    told = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(told))
    done = promtool("test", "rules", tmp_path / "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


# -- the page


def test_each_file_stands_in_the_page() -> None:
    names = [str(path.relative_to(FOLDER)) for path in files() if path.name != "kustomization.yaml"]
    assert [name for name in names if f"`{name}`" not in DOCUMENT] == []
