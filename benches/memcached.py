#!/usr/bin/env python3
"""What a request to a memcached costs Weir, nutcracker and HAProxy as a TCP relay in CPU time, in turns.

    benches/memcached.py target/release/weir

Needs memcached, nutcracker and haproxy. Half of the requests are sets of 100 bytes and half gets, in text, over
eight connections, with 2 and with 16 requests under way on each.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TURNS = 5
CONNECTIONS = 8
VALUE = b"v" * 100


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def cpu_seconds(pid):
    ticks = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def receive(connection, size):
    while size > 0:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            sys.exit("the connection was closed")
        size -= len(part)


def drive(port, batches, depth):
    """Gives how many requests were answered."""
    stored = b"".join(b"set key:%d 0 0 100\r\n%s\r\n" % (key, VALUE) for key in range(depth))
    batch, size = b"", 0
    for key in range(depth):
        if key % 2:
            batch += b"get key:%d\r\n" % key
            size += len(b"VALUE key:%d 0 100\r\n%s\r\nEND\r\n" % (key, VALUE))
        else:
            batch += b"set key:%d 0 0 100\r\n%s\r\n" % (key, VALUE)
            size += len(b"STORED\r\n")
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connections[0].sendall(stored)
    receive(connections[0], depth * len(b"STORED\r\n"))
    for _ in range(batches):
        for connection in connections:
            connection.sendall(batch)
        for connection in connections:
            receive(connection, size)
    return batches * CONNECTIONS * depth


def main(weir):
    server, *ports = (free_port() for _ in range(7))
    weir_port, nutcracker_port, relay_port, listen, admin, stats = ports
    place = tempfile.mkdtemp()
    files = {
        "weir.toml": f"""
[admin]
listen = "127.0.0.1:{admin}"
[state]
path = "{place}/weir.db"
[[tier]]
name = "web"
listen = "127.0.0.1:{listen}"
stable = "1.0.0"
releases = [{{ version = "1.0.0", upstreams = ["127.0.0.1:1"] }}]
[[cache]]
name = "pages"
kind = "memcached"
upstream = "memcached://127.0.0.1:{server}"
ports = {{ "1.0.0" = "127.0.0.1:{weir_port}" }}
""",
        "nutcracker.yml": f"""
pages:
  listen: 127.0.0.1:{nutcracker_port}
  hash: fnv1a_64
  distribution: ketama
  servers:
   - 127.0.0.1:{server}:1
""",
        "haproxy.cfg": f"""
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen pages
  bind 127.0.0.1:{relay_port}
  server one 127.0.0.1:{server}
""",
    }
    for name, text in files.items():
        with open(f"{place}/{name}", "w") as file:
            file.write(text)
    started = {
        "memcached": ["memcached", "-u", "root", "-l", "127.0.0.1", "-U", "0", "-p", str(server)],
        "nutcracker": ["nutcracker", "-c", f"{place}/nutcracker.yml", "-s", str(stats)],
        "haproxy": ["haproxy", "-db", "-f", f"{place}/haproxy.cfg"],
        "weir": [os.path.abspath(weir), "run", "--config", f"{place}/weir.toml"],
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = {name: subprocess.Popen(words, **quiet) for name, words in started.items()}
    contestants = {"weir": weir_port, "nutcracker": nutcracker_port, "haproxy": relay_port}
    try:
        time.sleep(3)
        for depth, batches in ((2, 6000), (16, 3000)):
            cost = {name: [] for name in contestants}
            for _ in range(TURNS):
                for name, port in contestants.items():
                    before = cpu_seconds(processes[name].pid)
                    requests = drive(port, batches, depth)
                    spent = cpu_seconds(processes[name].pid) - before
                    cost[name].append(1e6 * spent / requests)
            middle = {name: statistics.median(all) for name, all in cost.items()}
            shown = ", ".join(
                f"{name} {value:.1f} us (x{value / middle['weir']:.2f})" for name, value in middle.items()
            )
            print(f"{depth} under way: {shown}", flush=True)
    finally:
        for process in processes.values():
            process.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
