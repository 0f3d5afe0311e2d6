"""Looks at deploy/compose.yaml without an engine: compose.py FILE. Says what is wrong, and ends with 1 then."""

import pathlib
import sys
import tomllib

import yaml

path = pathlib.Path(sys.argv[1]).resolve()
compose = yaml.safe_load(path.read_text())
services, volumes = compose["services"], compose["volumes"]
wrong = []

weir = tomllib.loads((path.parent / "compose/weir.toml").read_text())
listens = {tier["listen"].rsplit(":", 1)[1] for tier in weir["tier"]}
inside = listens | {"3000", "9090"}  # of those that share Weir's network

for name, service in services.items():
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            if not (path.parent / source).exists():
                wrong.append(f"{name}: there is no {source}")
        elif source not in volumes:
            wrong.append(f"{name}: the volume {source} is not named below")
    if "build" in service:
        context = path.parent / service["build"]["context"]
        if not (context / service["build"]["dockerfile"]).is_file():
            wrong.append(f"{name}: there is no Dockerfile")
    elif ":" not in service["image"]:
        wrong.append(f"{name}: {service['image']} is another image tomorrow")
    network = service.get("network_mode", "")
    if network.startswith("service:") and network.removeprefix("service:") not in services:
        wrong.append(f"{name}: shares the network of nobody")
    for port in service.get("ports", []):
        if port.rsplit(":", 1)[1] not in inside:
            wrong.append(f"{name}: nobody listens at {port}")

for tier in weir["tier"]:
    for release in tier["releases"]:
        for upstream in release["upstreams"]:
            host, port = upstream.rsplit(":", 1)
            version = services.get(host, {}).get("environment", {}).get("VERSION")
            if version != release["version"] or port != "8000":
                wrong.append(f"{upstream} does not run {release['version']}")
for cache in weir["cache"]:
    for version, port in cache["ports"].items():
        told = [s["environment"]["REDIS"] for s in services.values()
                if s.get("environment", {}).get("VERSION") == version]
        if told != [f"weir:{port.rsplit(':', 1)[1]}"]:
            wrong.append(f"{version} is not told {port}")

print("\n".join(wrong))
sys.exit(bool(wrong))
