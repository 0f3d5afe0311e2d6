#!/usr/bin/env python3
"""What one command of Redis costs on its way through Weir, HAProxy (tcp) and nutcracker.

    ./redis.py [--rounds 7] [--commands 200000] [--gate]

redis-benchmark asks a redis-server through each in turn (A B C, A B C, ...). The figure is CPU time per command
of the whole process (all threads, /proc/PID/task/*/schedstat); the table gives medians over the rounds. The proxy
has CPU 0, everything else CPU 1. `benches/run redis` builds what this needs and calls it.
"""
import argparse, json, os, pathlib, re, shutil, socket, statistics, subprocess, sys, tempfile, time

WEIR = pathlib.Path(os.environ["WEIR_BINARY"])
# name: arguments of redis-benchmark
WORKLOADS = {
    "GET": ["-t", "get", "-P", "1", "-c", "50"],
    "SET": ["-t", "set", "-P", "1", "-c", "50"],
    "GET, 16 at once": ["-t", "get", "-P", "16", "-c", "50"],
    "SET, 16 at once": ["-t", "set", "-P", "16", "-c", "50"],
    "GET, one client": ["-t", "get", "-P", "1", "-c", "1"],
}
# The most that Weir may cost, as a share of HAProxy.
SHARE_MAX = 1.2
# Where nutcracker must cost more. With many clients that wait for each answer it asks for all of them on one
# connection, in one write: that is what Weir gives up for transactions, blocking pops and subscriptions.
DEARER = {"GET, 16 at once", "SET, 16 at once", "GET, one client"}


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


def start(command, cpu, run, name):
    log = open(run / f"{name}.log", "w")
    pinned = ["taskset", "-c", str(cpu % os.cpu_count())] + [str(part) for part in command]
    return subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def contestants(run, server):
    """name -> (command, port)"""
    ports = {name: free_port() for name in ("weir", "haproxy", "nutcracker", "admin", "web", "stats")}
    (run / "weir.toml").write_text(f"""
[admin]
listen = "127.0.0.1:{ports['admin']}"
[[tier]]
name = "web"
listen = "127.0.0.1:{ports['web']}"
stable = "1.0.0"
releases = [{{ version = "1.0.0", upstreams = ["127.0.0.1:1"] }}]
[[cache]]
name = "pages"
kind = "redis"
upstream = "redis://127.0.0.1:{server}"
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
listen redis
  bind 127.0.0.1:{ports['haproxy']}
  server one 127.0.0.1:{server}
""")
    (run / "nutcracker.yml").write_text(f"""
redis:
  listen: 127.0.0.1:{ports['nutcracker']}
  redis: true
  server_connections: 1
  servers:
   - 127.0.0.1:{server}:1
""")
    return {
        "weir": ([WEIR, "run", "--config", run / "weir.toml"], ports["weir"]),
        "haproxy": (["haproxy", "-f", run / "haproxy.cfg"], ports["haproxy"]),
        "nutcracker": (["nutcracker", "-c", run / "nutcracker.yml", "-s", str(ports["stats"]), "-a", "127.0.0.1"], ports["nutcracker"]),
    }


def cpu_ns(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def play(port, pid, arguments, commands):
    """CPU microseconds per command, and commands per second"""
    before = cpu_ns(pid)
    asked = ["taskset", "-c", str(1 % os.cpu_count()), "redis-benchmark", "-p", str(port), "-r", "10000", "-n", str(commands), "--csv"]
    said = subprocess.run(asked + arguments, check=True, capture_output=True, text=True, timeout=300).stdout
    rate = float(re.findall(r'^"[GS]ET","([\d.]+)"', said, re.M)[0])
    return (cpu_ns(pid) - before) / 1000 / commands, rate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--commands", type=int, default=200_000)
    parser.add_argument("--gate", action="store_true", help="fail where Weir costs more than it may")
    args = parser.parse_args()
    run = pathlib.Path(tempfile.mkdtemp(prefix="weir-redis-"))
    server, processes = free_port(), []
    try:
        processes.append(start(["redis-server", "--port", server, "--save", "", "--bind", "127.0.0.1", "--dir", run], 1, run, "redis"))
        wait_for(server)
        by_name = {}
        for name, (command, port) in contestants(run, server).items():
            processes.append(start(command, 0, run, name))
            by_name[name] = (port, processes[-1].pid)
            wait_for(port)
        costs = {work: {name: [] for name in by_name} for work in WORKLOADS}
        rates = {work: {name: [] for name in by_name} for work in WORKLOADS}
        for round_ in range(args.rounds + 1):
            for work, arguments in WORKLOADS.items():
                for name, (port, pid) in by_name.items():
                    cost, rate = play(port, pid, arguments, args.commands)
                    if round_ > 0:  # the first one warms up
                        costs[work][name].append(cost)
                        rates[work][name].append(rate)
        wrong = report(costs, rates)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(run, ignore_errors=True)
    if args.gate and wrong:
        sys.exit("\n".join(wrong))


def report(costs, rates):
    wrong = []
    print("| CPU us a command | HAProxy, tcp | nutcracker | Weir | share of HAProxy | of nutcracker |\n|---|---|---|---|---|---|")
    for work, by_name in costs.items():
        middle = {name: statistics.median(values) for name, values in by_name.items()}
        of_haproxy, of_nutcracker = middle["weir"] / middle["haproxy"], middle["weir"] / middle["nutcracker"]
        print(f"| {work} | {middle['haproxy']:.2f} | {middle['nutcracker']:.2f} | {middle['weir']:.2f} | {of_haproxy:.2f} | {of_nutcracker:.2f} |")
        if of_haproxy > SHARE_MAX or (work in DEARER and of_nutcracker > 1):
            wrong.append(f"{work}: {of_haproxy:.2f} of HAProxy (at most {SHARE_MAX}), {of_nutcracker:.2f} of nutcracker (at most 1)")
    print("\ncommands a second: " + json.dumps({work: {name: round(statistics.median(values)) for name, values in by.items()} for work, by in rates.items()}))
    return wrong


if __name__ == "__main__":
    main()
