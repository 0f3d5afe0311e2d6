#!/usr/bin/env python3
"""What a request to a memcached costs Weir, nutcracker and HAProxy as a TCP relay in CPU time, in turns.

    WEIR_BINARY=target/release/weir benches/memcached.py

`benches/run memcached` builds what this needs and calls it. Half of the requests are sets of 100 bytes and half gets, in text, over
eight connections, with 2 and with 16 requests under way on each.
"""

import os
import pathlib
import shutil
import socket
import statistics
import sys
import tempfile

from relays import contestants, cpu_ns, free_port, start, wait_for

WEIR = pathlib.Path(os.environ["WEIR_BINARY"])
TURNS = 5
CONNECTIONS = 8
VALUE = b"v" * 100


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


def main():
    run = pathlib.Path(tempfile.mkdtemp(prefix="weir-memcached-"))
    server = free_port()
    processes = [start(["memcached", "-u", "root", "-l", "127.0.0.1", "-U", "0", "-p", server], run, "memcached")]
    try:
        wait_for(server)
        by_name = {}
        for name, (command, port) in contestants(run, WEIR, "memcached", server).items():
            processes.append(start(command, run, name))
            by_name[name] = (port, processes[-1].pid)
            wait_for(port)
        for depth, batches in ((2, 6000), (16, 3000)):
            cost = {name: [] for name in by_name}
            for _ in range(TURNS):
                for name, (port, pid) in by_name.items():
                    before = cpu_ns(pid)
                    requests = drive(port, batches, depth)
                    cost[name].append((cpu_ns(pid) - before) / 1000 / requests)
            middle = {name: statistics.median(all) for name, all in cost.items()}
            shown = ", ".join(
                f"{name} {value:.1f} us (x{value / middle['weir']:.2f})" for name, value in middle.items()
            )
            print(f"{depth} under way: {shown}", flush=True)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    main()
