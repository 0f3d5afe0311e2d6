"""What the benchmarks of caches share: Weir, HAProxy (tcp) and nutcracker before one server, and what they cost."""
import os, pathlib, socket, subprocess, sys, time

# What nutcracker wants to know of a pool beside its addresses.
POOL = {
    "redis": "redis: true\n  server_connections: 1",
    "memcached": "hash: fnv1a_64\n  distribution: ketama",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens at {port}")


def start(command, run, name, cpu=None):
    """the process of `command`, on one CPU if that is said; its output stands in `run`"""
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu % os.cpu_count())]
    with open(run / f"{name}.log", "w") as log:
        return subprocess.Popen(pinned + [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def contestants(run, weir, kind, server):
    """name -> (command, port), before the `server` of `kind` at that port"""
    ports = {name: free_port() for name in ("weir", "haproxy", "nutcracker", "admin", "web", "stats")}
    (run / "weir.toml").write_text(f"""
[admin]
listen = "127.0.0.1:{ports['admin']}"
[state]
path = "{run}/weir.db"
[[tier]]
name = "web"
listen = "127.0.0.1:{ports['web']}"
stable = "1.0.0"
releases = [{{ version = "1.0.0", upstreams = ["127.0.0.1:1"] }}]
[[cache]]
name = "pages"
kind = "{kind}"
upstream = "{kind}://127.0.0.1:{server}"
ports = {{ "1.0.0" = "127.0.0.1:{ports['weir']}" }}
""")
    (run / "haproxy.cfg").write_text(f"""
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen pages
  bind 127.0.0.1:{ports['haproxy']}
  server one 127.0.0.1:{server}
""")
    (run / "nutcracker.yml").write_text(f"""
pages:
  listen: 127.0.0.1:{ports['nutcracker']}
  {POOL[kind]}
  servers:
   - 127.0.0.1:{server}:1
""")
    return {
        "weir": ([weir, "run", "--config", run / "weir.toml"], ports["weir"]),
        "haproxy": (["haproxy", "-db", "-f", run / "haproxy.cfg"], ports["haproxy"]),
        "nutcracker": (["nutcracker", "-c", run / "nutcracker.yml", "-s", str(ports["stats"]), "-a", "127.0.0.1"], ports["nutcracker"]),
    }


def cpu_ns(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
