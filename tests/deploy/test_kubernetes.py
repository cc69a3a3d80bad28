"""The manifests are valid, agree with each other and with the code, and give no pod more rights than it needs."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from penstock.commands.gateway import run as gateway_run
from penstock.kafka.names import group_of
from penstock.paths import ROOT
from penstock.settings import Settings
from streams.definitions.loading import load_pipeline
from streams.plan.pipeline_topics import pipeline_topics
from tests.deploy.commands import JOBS_COMMANDS, parse, secrets_in, unknown

_HERE = ROOT / "deploy" / "kubernetes"
_SCHEMAS = ROOT / "tests" / "deploy" / "schemas"
_KUBERNETES = "1.33"
_PIPELINE = load_pipeline("fraud")
# Secrets that the operator creates: see kustomization.yaml.
_GIVEN = {
    ("ConfigMap", "penstock-ca"),
    ("Secret", "fraud-credentials"),
    ("Secret", "flink-object-storage"),
    ("Secret", "archive-object-storage"),
}
# The controller of rollouts, what counts quality, and what watches raw events: a second one would end the first.
_ALONE = {"fraud-rollout", "fraud-quality", "fraud-data-quality"}
# What no scaler counts: the lag of an archive grows between its writes, and a comparison, a look or a gateway has none.
_NOT_SCALED = {*_ALONE, "fraud-archive", "fraud-parity", "fraud-incidents", "fraud-gateway"}
_CUSTOM = {"FlinkDeployment", "ScaledObject", "TriggerAuthentication"}

Resource = dict[str, Any]


def _load(folder: Path) -> list[Resource]:
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    found: list[Resource] = []
    for name in listed:
        path = folder / name
        found += _load(path) if path.is_dir() else yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return found


_RESOURCES = _load(_HERE / "fraud")
_BY_NAME = {(resource["kind"], resource["metadata"]["name"]): resource for resource in _RESOURCES}


@dataclass(frozen=True)
class Pod:
    """A pod that a resource creates."""

    owner: str
    kind: str
    template: Resource

    @property
    def spec(self) -> Resource:
        spec: Resource = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def containers(self) -> list[Resource]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def _pods() -> Iterator[Pod]:
    for resource in _RESOURCES:
        kind, name, spec = resource["kind"], resource["metadata"]["name"], resource.get("spec", {})
        if kind in ("Deployment", "StatefulSet", "Job"):
            yield Pod(name, kind, spec["template"])
        elif kind == "CronJob":
            yield Pod(name, kind, spec["jobTemplate"]["spec"]["template"])
        elif kind == "FlinkDeployment":
            yield Pod(name, kind, spec["podTemplate"])


_PODS = list(_pods())
_SERVICES = [pod for pod in _PODS if pod.owner.startswith("fraud-") and pod.kind in ("Deployment", "StatefulSet")]
# Those that run `penstock`.
_OURS = [pod for pod in _PODS if pod.owner.startswith("fraud-")]
_CONTAINERS = [
    pytest.param(pod, container, id=f"{pod.owner}-{container['name']}") for pod in _OURS for container in pod.containers
]


def _owners(pods: list[Pod]) -> list[Any]:
    return [pytest.param(pod, id=pod.owner) for pod in pods]


def _environment(container: Resource) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= _BY_NAME["ConfigMap", source["configMapRef"]["name"]]["data"]
    return found | {item["name"]: item.get("value", "") for item in container.get("env", [])}


def _command_line(container: Resource) -> list[str]:
    """The command line with variables substituted, as Kubernetes does it."""
    arguments = container["command"][1:] if "command" in container else container["args"]
    if container.get("command") == ["sh", "-c"]:
        arguments = shlex.split(container["args"][0].partition("||")[0])[1:]
    values = _environment(container) | {"POD_NAME": "pod-0"}
    return [re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], argument) for argument in arguments]


def _matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_every_file_is_in_a_kustomization() -> None:
    for folder in (_HERE / "base", _HERE / "fraud"):
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert {name for name in listed["resources"] if name.endswith(".yaml")} == files
        assert listed["namespace"] == "penstock"


def test_no_two_resources_share_a_name() -> None:
    assert len(_BY_NAME) == len(_RESOURCES)


@pytest.mark.parametrize("resource", _RESOURCES, ids=lambda r: f"{r['kind']}-{r['metadata']['name']}")
def test_resources_are_valid(resource: Resource) -> None:
    if resource["kind"] not in _CUSTOM:
        kubernetes_validate.validate(resource, _KUBERNETES, strict=True)
        return
    schema = json.loads((_SCHEMAS / f"{resource['kind'].lower()}.json").read_text(encoding="utf-8"))
    jsonschema.validate(resource, _closed(schema))


def _closed(schema: Any) -> Any:
    """The schema, made to refuse unknown fields, which the API server would silently drop."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    open_ended = "additionalProperties" in closed or closed.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(closed.get("properties"), dict) and "type" in closed and not open_ended:
        known = closed["properties"]
        if "spec" in known:  # the top: apiVersion, kind and metadata belong to every resource
            known |= {"apiVersion": {}, "kind": {}, "metadata": {}}
        closed["additionalProperties"] = False
    return closed


def test_pod_templates_of_flink_are_valid() -> None:
    spec = _BY_NAME["FlinkDeployment", "penstock-flink"]["spec"]
    for template in (spec["podTemplate"], spec["jobManager"]["podTemplate"], spec["taskManager"]["podTemplate"]):
        kubernetes_validate.validate(template, _KUBERNETES, strict=True)
        assert [container["name"] for container in template["spec"]["containers"]] == ["flink-main-container"]


@pytest.mark.parametrize("pod", _owners(_PODS))
def test_pods_are_restricted(pod: Pod) -> None:
    context = pod.spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert (context["runAsUser"], context["fsGroup"]) == (10001, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


@pytest.mark.parametrize("pod", _owners(_PODS))
def test_only_flink_may_use_the_kubernetes_api(pod: Pod) -> None:
    assert pod.spec["automountServiceAccountToken"] is (pod.kind == "FlinkDeployment")
    if pod.kind != "FlinkDeployment":
        assert pod.spec["serviceAccountName"] == "penstock"
    assert not any(binding["subjects"][0]["name"] == "penstock" for binding in _of("RoleBinding"))


def _of(kind: str) -> list[Resource]:
    return [resource for resource in _RESOURCES if resource["kind"] == kind]


@pytest.mark.parametrize("pod", _owners([pod for pod in _PODS if pod.kind != "FlinkDeployment"]))
def test_containers_declare_their_resources(pod: Pod) -> None:
    for container in pod.containers:
        resources = container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"])
        assert "memory" in resources["limits"]


@pytest.mark.parametrize("pod", _owners(_SERVICES))
def test_services_are_probed_and_scraped(pod: Pod) -> None:
    (container,) = pod.containers
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == "metrics"]
    assert str(port) == _environment(container)["PENSTOCK_METRICS_PORT"]
    assert pod.template["metadata"]["annotations"]["prometheus.io/port"] == str(port)


@pytest.mark.parametrize(("pod", "container"), _CONTAINERS)
def test_each_command_can_run_in_its_image(pod: Pod, container: Resource, tmp_path: Path) -> None:
    # A folder in a volume is there by then; what takes it as an option may ask for it at once.
    command = parse([str(tmp_path) if word.startswith("/data/") else word for word in _command_line(container)])
    in_jobs = container["image"].startswith("penstock-jobs")
    assert command.split()[0] not in JOBS_COMMANDS - {"topics"} or in_jobs


@pytest.mark.parametrize(("pod", "container"), _CONTAINERS)
def test_settings_are_complete_and_hold_no_secret(
    pod: Pod, container: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = _environment(container)
    assert unknown(environment) == set()
    assert secrets_in(environment) == set()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()  # refuses what contradicts itself
    assert settings.kafka.encrypts
    assert settings.redis.encrypts
    assert settings.cassandra.encrypts


@pytest.mark.parametrize(("pod", "container"), _CONTAINERS)
def test_files_that_settings_name_are_mounted_and_no_others(pod: Pod, container: Resource) -> None:
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    items = {item["path"] for item in mounts["/run/secrets/penstock"]["secret"]["items"]}
    assert mounts["/etc/penstock/ca"]["configMap"]["name"] == "penstock-ca"
    named = [value for value in _environment(container).values() if value.startswith("/run/secrets/penstock/")]
    assert {Path(value).name for value in named} <= items
    everyone = {Path(v).name for other in pod.containers for v in _environment(other).values() if v.startswith("/run/")}
    assert items <= everyone


@pytest.mark.parametrize("pod", _owners(_PODS))
def test_secrets_are_readable_for_their_pod_and_no_one_else(pod: Pod) -> None:
    """Kubernetes' default is 0644, which Penstock refuses."""
    modes = [volume["secret"]["defaultMode"] for volume in pod.spec["volumes"] if "secret" in volume]
    assert set(modes) <= {0o440}


@pytest.mark.parametrize(("pod", "container"), _CONTAINERS)
def test_users_are_the_users_of_the_acls(pod: Pod, container: Resource) -> None:
    parts = tomllib.loads((ROOT / "deploy" / "security" / "kafka-acls.toml").read_text(encoding="utf-8"))
    assert _environment(container)["PENSTOCK_KAFKA_USERNAME"] in {group_of("fraud", part) for part in parts}


def test_images_are_those_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    built = {service["image"] for service in compose["services"].values() if "build" in service}
    used = {container["image"] for pod in _PODS for container in pod.containers if "image" in container}
    assert used | {_BY_NAME["FlinkDeployment", "penstock-flink"]["spec"]["image"]} <= built
    gpu = yaml.safe_load((_HERE / "gpu" / "kustomization.yaml").read_text(encoding="utf-8"))
    patch = {step["path"]: step["value"] for step in yaml.safe_load(gpu["patches"][0]["patch"])}
    assert patch["/spec/template/spec/containers/0/image"] in built


def test_triton_is_started_as_in_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    (container,) = _BY_NAME["Deployment", "triton"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == compose["services"]["triton-cpu"]["command"]


def test_a_model_is_trained_on_the_backfill_that_was_made_for_it() -> None:
    (train,) = [pod for pod in _PODS if pod.owner == "fraud-train"]
    backfill, model = (_command_line(container) for container in train.containers)
    assert backfill[backfill.index("--out") + 1] == model[model.index("--backfill") + 1]


def test_every_reference_is_to_an_existing_resource() -> None:
    for pod in _PODS:
        for container in pod.containers:
            for source in container.get("envFrom", []):
                (ref,) = source.items()
                kind = {"configMapRef": "ConfigMap", "secretRef": "Secret"}[ref[0]]
                assert (kind, ref[1]["name"]) in _GIVEN | set(_BY_NAME)
        for volume in pod.spec["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in _BY_NAME
            elif "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in _GIVEN
            elif "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in _GIVEN
        names = {volume["name"] for volume in pod.spec["volumes"]}
        assert names == {mount["name"] for container in pod.containers for mount in container["volumeMounts"]}
        account = pod.spec.get("serviceAccountName", "penstock-flink")
        assert ("ServiceAccount", account) in _BY_NAME
    for binding in _of("RoleBinding"):
        assert ("Role", binding["roleRef"]["name"]) in _BY_NAME


def test_selectors_find_their_pods() -> None:
    for resource in _RESOURCES:
        kind, spec = resource["kind"], resource.get("spec", {})
        if kind in ("Deployment", "StatefulSet"):
            assert _matches(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])
        elif kind == "PodDisruptionBudget":
            (found,) = [pod for pod in _PODS if _matches(spec["selector"]["matchLabels"], pod.labels)]
            assert found.owner == resource["metadata"]["name"]
        elif kind == "Service":
            (found,) = [pod for pod in _PODS if _matches(spec["selector"], pod.labels)]
            ports = {port["name"] for port in found.containers[0]["ports"]}
            assert {port["targetPort"] for port in spec["ports"]} <= ports
    assert {name for kind, name in _BY_NAME if kind == "PodDisruptionBudget"} == {pod.owner for pod in _SERVICES}


def test_stateful_services_have_stable_names() -> None:
    for resource in _of("StatefulSet"):
        (container,) = resource["spec"]["template"]["spec"]["containers"]
        assert "$(POD_NAME)" in container["args"]
        assert ("Service", resource["spec"]["serviceName"]) in _BY_NAME
    for pod in _SERVICES:
        takes_instance = pod.owner in ("fraud-scorer", "fraud-drift")
        assert (pod.kind == "StatefulSet") is takes_instance


def test_scalers_tolerate_transaction_markers() -> None:
    topics = {topic.name: topic.partitions for topic in pipeline_topics(_PIPELINE)}
    for scaled in _of("ScaledObject"):
        spec = scaled["spec"]
        target = spec["scaleTargetRef"]
        assert "replicas" not in _BY_NAME[target["kind"], target["name"]]["spec"]  # the scaler sets it
        assert spec["minReplicaCount"] >= 1
        for trigger in spec["triggers"]:
            metadata, partitions = trigger["metadata"], topics[trigger["metadata"]["topic"]]
            assert metadata["consumerGroup"] == group_of("fraud", target["name"].removeprefix("fraud-"))
            assert spec["maxReplicaCount"] == partitions
            # One transaction marker per partition must be far below one replica's lag.
            assert int(metadata["lagThreshold"]) >= 100 * partitions
            assert int(metadata["activationLagThreshold"]) >= partitions
            assert metadata["excludePersistentLag"] == "true"
            assert metadata["allowIdleConsumers"] == "false"
            settings = _BY_NAME["ConfigMap", "penstock-settings"]["data"]
            assert metadata["bootstrapServers"] == settings["PENSTOCK_KAFKA_BOOTSTRAP"]
            assert ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in _BY_NAME
    assert {scaled["metadata"]["name"] for scaled in _of("ScaledObject")} == {
        pod.owner for pod in _SERVICES
    } - _NOT_SCALED


def test_what_no_scaler_counts_says_how_many_it_is() -> None:
    # Of gateways there are two, so that one answers while the other is moved.
    assert {name: _BY_NAME["Deployment", name]["spec"]["replicas"] for name in _NOT_SCALED} == {
        **dict.fromkeys(_NOT_SCALED, 1),
        "fraud-gateway": 2,
    }


def test_the_gateway_is_reached_by_its_callers_where_it_listens_and_by_no_one_else() -> None:
    (pod,) = [pod for pod in _PODS if pod.owner == "fraud-gateway"]
    (container,) = pod.containers
    port = next(one.default for one in gateway_run.params if one.name == "port")
    assert {"name": "events", "containerPort": port} in container["ports"]
    assert _BY_NAME["Service", "fraud-gateway"]["spec"]["ports"] == [
        {"name": "events", "port": 80, "targetPort": "events"}
    ]
    (rule,) = _BY_NAME["NetworkPolicy", "fraud-gateway"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]
    # Who waits when a pod stops is still answered.
    longest_s = next(one.default for one in gateway_run.params if one.name == "most_deadline_ms") / 1000
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod.spec["terminationGracePeriodSeconds"] >= pause_s + longest_s + 30


def test_raw_events_are_profiled_by_the_user_that_watches_them() -> None:
    users = {
        _environment(container)["PENSTOCK_KAFKA_USERNAME"]
        for pod in _PODS
        if pod.owner.startswith("fraud-data-quality")
        for container in pod.containers
    }
    assert users == {"penstock-fraud-data-quality"}


@pytest.mark.parametrize("name", sorted(_ALONE))
def test_what_would_end_the_first_is_never_there_twice(name: str) -> None:
    spec = _BY_NAME["Deployment", name]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_what_changes_models_can_write_to_their_repository_and_nothing_that_serves() -> None:
    writers = {
        pod.owner
        for pod in _PODS
        for container in pod.containers
        for mount in container["volumeMounts"]
        if mount["name"] == "models" and not mount.get("readOnly")
    }
    assert writers == {"fraud-rollout", "fraud-rollback", "fraud-model-load", "fraud-train"}


def test_scalers_watch_every_topic_that_their_consumer_reads() -> None:
    watched = {
        scaled["metadata"]["name"]: {trigger["metadata"]["topic"] for trigger in scaled["spec"]["triggers"]}
        for scaled in _of("ScaledObject")
    }
    features, predictions = _PIPELINE.features_topic, _PIPELINE.predictions_topic
    assert watched == {
        "fraud-sink-redis": {features},
        "fraud-sink-cassandra": {features, predictions},
        "fraud-scorer": {features},
        "fraud-drift": {features, predictions},
    }


def test_traffic_is_denied_by_default_and_policies_select_labels_of_existing_pods() -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in _of("NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    selected = [spec["podSelector"].get("matchLabels", {}) for spec in policies.values()]
    for selector in selected:
        assert any(_matches(selector, pod.labels) for pod in _PODS), selector
    for pod in _PODS:
        uses = {name for name in pod.labels if name.startswith("penstock.io/uses-")}
        assert all({name: "true"} in selected for name in uses)


def test_pods_may_connect_only_to_what_they_use() -> None:
    reached = {
        pod.owner: {name.removeprefix("penstock.io/uses-") for name in pod.labels if "/uses-" in name} for pod in _PODS
    }
    assert reached == {
        "penstock-flink": {"kafka"},
        "triton": set(),
        "fraud-set-up": {"kafka", "flink"},
        "fraud-job-stop": {"kafka", "flink"},
        "fraud-model-load": {"triton"},
        "fraud-train": {"kafka", "flink"},
        "fraud-sink-redis": {"kafka", "redis"},
        "fraud-sink-cassandra": {"kafka", "cassandra"},
        "fraud-scorer": {"kafka", "triton"},
        "fraud-drift": {"kafka"},
        "fraud-rollout": {"kafka", "triton"},
        "fraud-rollback": {"kafka", "triton"},
        "fraud-quality": {"kafka"},
        "fraud-data-quality": {"kafka"},
        "fraud-data-quality-profile": {"kafka"},
        "fraud-incidents": {"kafka"},
        "fraud-gateway": {"kafka"},
        "fraud-archive": {"kafka", "object-storage"},
        "fraud-parity": {"kafka"},
    }


def test_flink_is_configured_as_in_its_image_except_for_kubernetes_settings() -> None:
    image = yaml.safe_load((ROOT / "deploy" / "images" / "flink-config.yaml").read_text(encoding="utf-8"))
    spec = _BY_NAME["FlinkDeployment", "penstock-flink"]["spec"]
    here = spec["flinkConfiguration"]
    # Addresses and ports are Kubernetes' own; memory is asked for as a resource; Java's options come with Flink.
    differs = (
        "address",
        "host",
        "rpc.port",
        "rest.port",
        "server.port",
        "jobmanager.port",
        "zookeeper",
        "process.size",
    )
    for name, value in image.items():
        if not any(part in name for part in (*differs, "env.java.opts.all")):
            assert name in here, name
            assert here[name] == value or name.startswith(("high-availability.", "execution.checkpointing.")), name
    assert spec["jobManager"]["resource"]["memory"] == image["jobmanager.memory.process.size"]
    assert spec["taskManager"]["resource"]["memory"] == image["taskmanager.memory.process.size"]
    assert here["high-availability.type"] == "kubernetes"
    for name in (
        "high-availability.storageDir",
        "execution.checkpointing.dir",
        "execution.checkpointing.savepoint-dir",
    ):
        assert here[name].startswith("s3://"), name


def test_the_targets_of_the_gpu_patch_exist() -> None:
    gpu = yaml.safe_load((_HERE / "gpu" / "kustomization.yaml").read_text(encoding="utf-8"))
    (patch,) = gpu["patches"]
    document: Any = _BY_NAME[patch["target"]["kind"], patch["target"]["name"]]
    for step in yaml.safe_load(patch["patch"]):
        *parents, last = [part.replace("~1", "/") for part in step["path"].split("/")[1:]]
        found = document
        for part in parents:
            found = found[int(part)] if isinstance(found, list) else found[part]
        assert (last in found) is (step["op"] == "replace"), step["path"]
