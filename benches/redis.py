#!/usr/bin/env python3
"""What one command of Redis costs on its way through Weir, HAProxy (tcp) and nutcracker.

    ./redis.py [--rounds 7] [--commands 200000] [--gate]

redis-benchmark asks a redis-server through each in turn (A B C, A B C, ...). The figure is CPU time per command
of the whole process (all threads, /proc/PID/task/*/schedstat); the table gives medians over the rounds. The proxy
has CPU 0, everything else CPU 1. `benches/run redis` builds what this needs and calls it.
"""
import argparse, json, os, pathlib, re, shutil, statistics, subprocess, sys, tempfile

from relays import contestants, cpu_ns, free_port, start, wait_for

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
        processes.append(start(["redis-server", "--port", server, "--save", "", "--bind", "127.0.0.1", "--dir", run], run, "redis", 1))
        wait_for(server)
        by_name = {}
        for name, (command, port) in contestants(run, WEIR, "redis", server).items():
            processes.append(start(command, run, name, 0))
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
