"""The manifests in deploy/kubernetes, and KEDA's schema for some of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy/kubernetes"
SCALING = FOLDER / "scaling"
KEDA = "keda.sh/v1alpha1"
PYTHON = ROOT / "build/keda/bin/python"  # where `make test` installs the models of KEDA's resources
INSTALLED = ROOT / "build/keda/.made-from-lock"
# Whether its want makes tests fail, and not be skipped.
REQUIRED = any(os.environ.get(name, "").lower() in ("1", "true") for name in ("SPRINTLY_REQUIRE_KEDA", "CI"))
# The models are made of KEDA's CustomResourceDefinitions; this makes JSON schemas of them again.
TELL = """
import json, sys
from cloudcoil.models.keda import v1alpha1
print(json.dumps({kind: getattr(v1alpha1, kind).model_json_schema(by_alias=True) for kind in sys.argv[1:]}))
"""


def files() -> list[Path]:
    """Return all files of manifests."""
    return sorted(FOLDER.rglob("*.yaml"))


def manifests(path: Path | None = None) -> Iterator[dict[str, Any]]:
    """Give the resources in a file, or in all files of the folder; what only kustomize reads is left out."""
    for each in files() if path is None else [path]:
        for document in yaml.safe_load_all(each.read_text("utf-8")):
            if document["kind"] != "Kustomization":
                yield document


def one(kind: str, name: str | None = None) -> dict[str, Any]:
    """Return the only resource of a kind, or the one of a name."""
    (found,) = [each for each in manifests() if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


def keda_schemas(*kinds: str) -> dict[str, Any]:
    """Return KEDA's own schema of each kind, in which what is not known is forbidden."""
    told = subprocess.run([PYTHON, "-c", TELL, *kinds], capture_output=True, text=True, check=True, timeout=60)
    schemas: dict[str, Any] = json.loads(told.stdout)
    return {kind: _closed(schema) for kind, schema in schemas.items()}


def _closed(schema: Any) -> Any:
    """Return a schema whose objects have no other fields than those it names, as Kubernetes would cut them away."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed
