#!/usr/bin/env python3
"""Interleaved proxy benchmark: what does one request cost?

    ./bench.py                                    every contestant, every workload
    ./bench.py -c nginx -c weir -w get128 -r 5    some of them
    ./bench.py --list
    ./bench.py --targets --json out.json --svg ../docs/performance.svg
    ./bench.py --scale                            what a second worker adds

`benches/run` builds what this needs and calls it.  A contestant whose program is not there is left out, and that is said.

Contestants are tables in contestants.toml (see there).  The first figure is
CPU time per request of the whole process tree (utime+stime from
/proc/PID/stat); requests per second and latency come second, since they also
depend on the load generator and on who else uses the machine.  Contestants
take turns (A B C, A B C, ...) and the table gives medians over the rounds.

By default the proxy has CPU 0 and the load generator and the origin CPU 1
(--pin split); --pin none lets the scheduler place everything.
"""
import argparse, json, os, pathlib, re, shutil, signal, socket, ssl, statistics, subprocess, sys, tempfile, time, tomllib

BENCH = pathlib.Path(__file__).resolve().parent
RUN = pathlib.Path(os.environ.get("BENCH_RUN", tempfile.gettempdir() + "/weir-bench"))  # logs, rendered configurations
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", RUN / "target"))
WEIR = pathlib.Path(os.environ.get("WEIR_BINARY", TARGET / "release/weir"))
ORIGIN = TARGET / "release/backend"
PACE = TARGET / "release/pace"
TICK = os.sysconf("SC_CLK_TCK")
STABLE, CANARY = 9101, 9102

# name: (tool, connections, environment of wrk.lua)
WORKLOADS = {
    "get128": ("wrk", 64, dict(W_PATH="/128", W_USERS="97")),
    "browser": ("wrk", 64, dict(W_PATH="/128", W_USERS="97", W_BROWSER="1")),
    "get16k": ("wrk", 64, dict(W_PATH="/16k", W_USERS="97")),
    "get1m": ("wrk", 16, dict(W_PATH="/1m", W_USERS="97")),
    "post16k": ("wrk", 64, dict(W_PATH="/128", W_METHOD="POST", W_BODY="16384", W_USERS="97")),
    "close": ("wrk", 64, dict(W_PATH="/128", W_USERS="97", W_CLOSE="1")),
    "light": ("pace", 8, dict(rate=1000, path="/128")),
    "tls": ("wrk", 64, dict(W_PATH="/128", W_USERS="97", W_SCHEME="https")),
    "tls-close": ("wrk", 64, dict(W_PATH="/128", W_USERS="97", W_CLOSE="1", W_SCHEME="https")),
    "h2": ("h2load", 16, dict(path="/128", streams=10)),
    "h2-16k": ("h2load", 16, dict(path="/16k", streams=10)),
}

# What Weir may cost at most, as a share of a peer that does the same or less.
TARGETS = {
    "get128": {"nginx": 0.80, "haproxy": 0.85, "pingora": 0.60},
    "browser": {"nginx": 0.80, "haproxy": 0.85, "pingora": 0.60},
    "get16k": {"nginx-lean": 0.98, "haproxy-lean": 0.95, "pingora-lean": 0.65},
    "post16k": {"nginx-lean": 0.98, "haproxy-lean": 0.95, "pingora-lean": 0.65},
    "close": {"nginx-lean": 1.0, "haproxy-lean": 1.0, "pingora-lean": 0.70},
    "get1m": {"nginx-lean-malloc": 1.0, "haproxy-lean": 0.80, "pingora-lean": 0.70},
}
# The same without a target: what TLS and HTTP/2 cost.
COMPARED = {
    "tls": {"nginx-tls": None, "haproxy-tls": None},
    "tls-close": {"nginx-tls": None, "haproxy-tls": None},
    "h2": {"nginx-tls": None, "haproxy-tls": None},
    "h2-16k": {"nginx-tls": None, "haproxy-tls": None},
}
# Caddy splits by turns at most, and keeps nobody anywhere: the same without a target.
for workload in TARGETS:
    COMPARED.setdefault(workload, {})["caddy"] = None
ENCRYPTED = {"tls", "tls-close", "h2", "h2-16k"}
NAMES = {
    "get128": "GET 128 B", "browser": "GET 128 B, browser headers", "get16k": "GET 16 KiB", "post16k": "POST 16 KiB",
    "close": "a connection each", "get1m": "GET 1 MiB", "tls": "GET 128 B, TLS", "tls-close": "a TLS connection each",
    "h2": "GET 128 B, HTTP/2 on TLS", "h2-16k": "GET 16 KiB, HTTP/2 on TLS",
}


def render():
    """writes the contestants' configurations with their run folder filled in"""
    (RUN / "conf").mkdir(parents=True, exist_ok=True)
    for f in (BENCH / "conf").iterdir():
        (RUN / "conf" / f.name).write_text(f.read_text().replace("@RUN@", str(RUN)))
    for f in RUN.glob("weir*.db*"):
        f.unlink()
    if not (RUN / "cert.pem").exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", RUN / "key.pem", "-out", RUN / "chain.pem"], check=True, capture_output=True)
        (RUN / "cert.pem").write_text((RUN / "chain.pem").read_text() + (RUN / "key.pem").read_text())


def tree(pid):
    """pid and all its descendants"""
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        for f in pathlib.Path(f"/proc/{p}/task").glob("*/children"):
            try:
                todo += [int(c) for c in f.read_text().split()]
            except OSError:
                pass
    return out


def cpu_seconds(pid):
    """(user, system) CPU seconds of the process tree so far"""
    user = system = 0
    for p in tree(pid):
        try:
            f = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        user += int(f[11])
        system += int(f[12])
    return user / TICK, system / TICK


def rss_kib(pid):
    total = 0
    for p in tree(pid):
        try:
            m = re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{p}/smaps_rollup").read_text(), re.M)
            total += int(m.group(1))
        except (OSError, AttributeError):
            pass
    return total


def wait_port(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


class Proc:
    def __init__(self, cmd, cpus, env=None, log=None):
        self.p = subprocess.Popen(
            cmd, stdin=subprocess.DEVNULL, stdout=log or subprocess.DEVNULL, stderr=log or subprocess.DEVNULL,
            env={**os.environ, **(env or {})}, start_new_session=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)
        self.pid = self.p.pid

    def stop(self, patience=5):
        self.p.terminate()
        try:
            self.p.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.p.wait()


def command(words):
    """a command of the contestants file with its places filled in"""
    fill = dict(bench=str(BENCH), run=str(RUN), target=str(TARGET), weir=str(WEIR), stable=str(STABLE), canary=str(CANARY))
    return [word.format(**fill) for word in words]


def absent(conf):
    """the program of a contestant that is not here, or nothing"""
    program = command(conf.get("cmd", [sys.executable]))[0]
    return None if shutil.which(program) else program


class Contestant:
    def __init__(self, name, conf, cpus, patience=10):
        self.name, self.port, self.proc = name, conf["port"], None
        if "cmd" in conf:
            cmd = command(conf["cmd"])
            log = open(RUN / f"{name}.log", "wb")
            self.proc = Proc(cmd, cpus, conf.get("env"), log)
        self.tls = conf.get("tls", False)
        try:
            wait_port(self.port, patience)
            if "then" in conf:
                then = subprocess.run(command(conf["then"]), capture_output=True, text=True, timeout=60)
                if then.returncode:
                    sys.exit(f"{name}: {then.stdout}{then.stderr}")
            self.verify()
        except BaseException:
            if self.proc:
                self.proc.stop()
            raise

    def verify(self):
        """it really forwards: the origin's X-Port header and a whole body must come back"""
        with socket.create_connection(("127.0.0.1", self.port), 3) as s:
            if self.tls:
                trusting = ssl.create_default_context(cafile=str(RUN / "chain.pem"))
                s = trusting.wrap_socket(s, server_hostname="localhost")
            s.sendall(b"GET /16k HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
            got = b""
            while chunk := s.recv(65536):
                got += chunk
        head, _, body = got.partition(b"\r\n\r\n")
        if b"x-port: 910" not in head.lower() or len(body) != 16384:
            sys.exit(f"{self.name} does not forward as it should:\n{head.decode(errors='replace')}\n({len(body)} body bytes)")

    def cpu(self):
        return cpu_seconds(self.proc.pid) if self.proc else (0.0, 0.0)


def load(port, workload, seconds, cpus):
    """run the load generator once, for one of WORKLOADS or at the rate of a table of its own; returns its figures"""
    tool, conns, opt = WORKLOADS[workload] if isinstance(workload, str) else ("pace", workload["conns"], workload)
    pre = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    if tool == "pace":
        cmd = [str(PACE), str(port), str(conns), str(opt["rate"]), str(seconds), opt["path"]]
        r = subprocess.run(cmd, capture_output=True, text=True, timeout=seconds + 20, preexec_fn=pre)
        return json.loads(r.stdout)
    if tool == "h2load":
        cmd = ["h2load", "-t1", f"-c{conns}", f"-m{opt['streams']}", f"-D{seconds}", "--warm-up-time=0",
               "-H", "cookie: theme=dark; uid=9e3779b1-user-1; lang=en", f"https://localhost:{port}{opt['path']}"]
        r = subprocess.run(cmd, capture_output=True, text=True, timeout=seconds + 20, preexec_fn=pre)
        done = re.search(r"requests: .* (\d+) succeeded, (\d+) failed", r.stdout)
        if not done or "h2" not in re.search(r"Application protocol: (\S+)", r.stdout).group(1):
            sys.exit(f"h2load said:\n{r.stdout}{r.stderr}")
        mean = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) ", r.stdout)
        mean = float(mean.group(1)) * {"us": 1, "ms": 1e3, "s": 1e6}[mean.group(2)]
        return {"requests": int(done.group(1)), "errors": int(done.group(2)), "p50_us": mean, "p99_us": 0.0}
    cmd = ["wrk", "-t1", f"-c{conns}", f"-d{seconds}s", "--timeout", "5s", "-s", str(BENCH / "wrk.lua"), f"{opt.get('W_SCHEME', 'http')}://127.0.0.1:{port}"]
    r = subprocess.run(cmd, capture_output=True, text=True, timeout=seconds + 20, preexec_fn=pre, env={**os.environ, **opt})
    m = re.search(r"^RESULT (.*)$", r.stdout, re.M)
    if not m:
        sys.exit(f"wrk said:\n{r.stdout}{r.stderr}")
    return json.loads(m.group(1))


def measure(c, workload, seconds, cpus):
    load(c.port, workload, 1, cpus)  # warm pools and caches
    u0, s0 = c.cpu()
    t0 = time.monotonic()
    r = load(c.port, workload, seconds, cpus)
    wall = time.monotonic() - t0
    u1, s1 = c.cpu()
    n = max(r["requests"], 1)
    return {
        "cpu_us": (u1 - u0 + s1 - s0) * 1e6 / n,
        "user_us": (u1 - u0) * 1e6 / n,
        "sys_us": (s1 - s0) * 1e6 / n,
        "busy": (u1 - u0 + s1 - s0) / wall,
        "rps": n / (r["duration_us"] / 1e6 if "duration_us" in r else seconds),
        "p50_us": r["p50_us"],
        "p99_us": r["p99_us"],
        "errors": r["errors"] + r.get("bad_status", 0),
        "requests": r["requests"],
    }


def instructions(names, table, few=640, many=3840):
    """user instructions per request, by valgrind: how much more the busiest thread does for many requests than for few, or
    the busiest threads, one a worker.  Threads are told apart by how much they do: their numbers change from run to run.
    Repeats to about 1 %."""
    out = {}
    for name in names:
        runs = []
        for count in (few, many):
            render()
            for f in RUN.glob(f"{name}.callgrind*"):
                f.unlink()
            conf = dict(table[name])
            if conf["cmd"][0] == "nginx":
                # its worker is ended without a chance to write its profile, so there is none
                conf["cmd"] = [*conf["cmd"], "-g", "master_process off;"]
            conf["cmd"] = ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--trace-children=yes",
                           f"--callgrind-out-file={RUN / name}.callgrind.%p", *conf["cmd"]]
            c = Contestant(name, conf, None, patience=60)
            try:
                steady_requests(c.port, count)
            finally:
                c.proc.stop(patience=60)
            # The busiest first: a thread that is there in one run only must not set them against others.
            runs.append(sorted((int(m.group(1)) for f in RUN.glob(f"{name}.callgrind.*")
                                if (m := re.search(r"^(?:totals|summary): (\d+)", f.read_text(errors="replace"), re.M))),
                               reverse=True))
        workers = table[name].get("workers", 1)
        more = sum(sorted((b - a for a, b in zip(*runs)), reverse=True)[:workers])
        out[name] = {"user k-instr/req": round(more / (many - few) / 1000, 2)}
    return out


def gate(counted, table):
    """ends with an error where a contestant takes more instructions than its entry allows"""
    over = [f"{name} takes {r['user k-instr/req']} k user instructions a request, allowed are {table[name]['k_instr_max']}"
            for name, r in counted.items() if "k_instr_max" in table[name] and r["user k-instr/req"] > table[name]["k_instr_max"]]
    if over:
        sys.exit("\n".join(over))


def steady_requests(port, count, connections=64):
    """so many requests, no more than one at a time on each of 64 kept-alive connections"""
    socks = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(connections)]
    sent = 0
    while sent < count:
        for s in socks:
            user = sent % 97
            s.sendall(b"GET /128 HTTP/1.1\r\nHost: shop.example.com\r\nCookie: theme=dark; uid=%08x-user-%d; lang=en\r\n\r\n"
                      % (user * 2654435761 % 2**32, user))
            sent += 1
        for s in socks:
            got = b""
            while len(got.partition(b"\r\n\r\n")[2]) < 128:
                chunk = s.recv(65536)
                if not chunk:
                    sys.exit("the proxy closed a connection")
                got += chunk
            if b" 200 " not in got.split(b"\r\n", 1)[0]:
                sys.exit(got.decode(errors="replace"))
    for s in socks:
        s.close()


def syscalls(c, workload, cpus, seconds=3):
    """system calls per request, by name (strace slows the proxy, so only the counts mean anything)"""
    if not c.proc:
        return {}
    out = RUN / f"{c.name}.strace"
    pids = [a for p in tree(c.proc.pid) for a in ("-p", str(p))]
    st = subprocess.Popen(["strace", "-f", "-c", "-o", str(out), *pids], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    n = load(c.port, workload, seconds, cpus)["requests"]
    st.send_signal(signal.SIGINT)
    st.wait(10)
    calls = {}
    for line in out.read_text().splitlines():
        m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:(\d+)\s+)?(\w+)$", line)
        if m and m.group(3) != "total" and int(m.group(1)) / n >= 0.005:
            calls[m.group(3)] = round(int(m.group(1)) / n, 2)
            if m.group(2) and int(m.group(2)) / n >= 0.005:
                calls[m.group(3) + "!err"] = round(int(m.group(2)) / n, 2)
    calls["total"] = round(sum(v for k, v in calls.items() if not k.endswith("!err")), 2)
    return calls


def idle_memory(c, count):
    """KiB of proxy memory per idle keep-alive client connection, of so many"""
    if not c.proc:
        return {}
    load(c.port, "get128", 1, None)
    time.sleep(0.5)
    before = rss_kib(c.proc.pid)
    socks = []
    for i in range(count):
        s = socket.create_connection(("127.0.0.1", c.port), 5)
        s.sendall(b"GET /128 HTTP/1.1\r\nHost: a\r\nCookie: uid=%d\r\n\r\n" % i)
        got = b""
        while b"xxxxxxxx" not in got:
            got += s.recv(4096)
        socks.append(s)
    time.sleep(4)  # let allocators give back what they will
    after = rss_kib(c.proc.pid)
    for s in socks:
        s.close()
    time.sleep(0.5)
    return {"base_kib": before, "after_kib": after, "kib_per_conn": round((after - before) / count, 2)}


def scale(table, cpus, rounds, seconds, each=2500, connections=24):
    """What a second worker adds.  Proxy, load and origin share the cores, so that the rate at which two workers are saturated
    says how dear the load is.  Each worker gets the same load instead, far from saturation: so many requests a second on so
    many connections.  The CPU time of a request with two workers against that with one says how many times the load of one
    two of them carry where the cores are theirs: twice as many, less what they cost each other."""
    rows = {name: [] for name in ("weir", "weir-two")}
    for _ in range(rounds):
        for name, got in rows.items():
            workers = table[name].get("workers", 1)
            render()
            c = Contestant(name, table[name], cpus)
            try:
                pace = dict(rate=each * workers, conns=connections * workers, path="/128")
                got.append(measure(c, pace, seconds, cpus))
            finally:
                c.proc.stop()
    one, two = (med(rows[name], "cpu_us") for name in rows)
    counted = {name: r["user k-instr/req"] for name, r in instructions(list(rows), table).items()}
    return {"one": {"cpu_us": one, "requests per CPU second": round(1e6 / one), "user k-instr/req": counted["weir"]},
            "two": {"cpu_us": two, "requests per CPU second": round(1e6 / two), "user k-instr/req": counted["weir-two"]},
            "times the load of one": round(2 * one / two, 2)}


def med(rows, key):
    return statistics.median(r[key] for r in rows)


def pairs(result):
    """(workload, peer, Weir's share of what the peer takes, the target or None) of everything that was measured"""
    for w in [*TARGETS, *(w for w in COMPARED if w not in TARGETS)]:
        peers = {**TARGETS.get(w, {}), **COMPARED.get(w, {})}
        got = result["median"].get(w, {})
        weir = got.get("weir-tls" if w in ENCRYPTED else "weir")
        for peer, most in peers.items():
            if weir and peer in got:
                yield w, peer, weir["cpu_us"] / got[peer]["cpu_us"], most


def shares(result):
    print(f"\n{'CPU time, Weir as a share of':34}{'peer':20}{'share':>7}{'at most':>9}")
    for w, peer, share, most in pairs(result):
        verdict = "" if most is None else ("ok" if share <= most else "MISSED")
        print(f"{NAMES[w]:34}{peer:20}{share:7.2f}{'' if most is None else f'{most:9.2f}'}  {verdict}")


def tables(result):
    """what was measured, as docs/performance.md has it"""
    for encrypted in (False, True):
        work = [w for w in WORKLOADS if w in result["median"] and (w in ENCRYPTED) == encrypted]
        names = list(dict.fromkeys(n for w in work for n in result["median"][w]))
        if work:
            print("\n| |", " | ".join(names), "|")
            print("|---" * (len(names) + 1) + "|")
        for w in work:
            key, what = ("p50_us", "the median answer at 1 000 a second, us") if w == "light" else ("cpu_us", NAMES[w])
            got = result["median"][w]
            print(f"| {what} |", " | ".join(f"{got[n][key]:.1f}" if n in got else "" for n in names), "|")


def plot(result):
    """a bar for each peer and workload: Weir's share of the peer's CPU time; a mark where the target is"""
    rows = list(pairs(result))
    wide, tall, left, top = 760, 22, 330, 46
    scale = (wide - left - 70) / max([1.2, *(share for _, _, share, _ in rows)])
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {top + tall * len(rows) + 30}" '
           'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
           '<rect width="100%" height="100%" fill="#fff"/>',
           '<text x="10" y="18" font-size="14" font-weight="600">CPU time per request: Weir as a share of its peers (shorter is cheaper)</text>']
    one = left + scale
    out.append(f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{top - 12}" y2="{top + tall * len(rows)}" stroke="#999" stroke-dasharray="3 3"/>'
               f'<text x="{one:.1f}" y="{top - 16}" text-anchor="middle" fill="#666">the same</text>')
    for i, (w, peer, share, most) in enumerate(rows):
        y = top + i * tall
        colour = "#8aa0b4" if most is None else ("#3b7dd8" if share <= most else "#d97706")
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{NAMES[w]} / {peer}</text>'
                   f'<rect x="{left}" y="{y + 3}" width="{share * scale:.1f}" height="{tall - 8}" fill="{colour}" rx="2"/>'
                   f'<text x="{left + share * scale + 6:.1f}" y="{y + 13}">{share:.2f}</text>')
        if most is not None:
            x = left + most * scale
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 1}" y2="{y + tall - 3}" stroke="#111" stroke-width="2"/>')
    out.append(f'<text x="10" y="{top + tall * len(rows) + 20}" fill="#666">black mark: at most; blue: reached; orange: missed; grey: no target</text></svg>')
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-c", "--contestant", action="append", help="only this contestant (may be repeated)")
    ap.add_argument("-w", "--workload", action="append", choices=list(WORKLOADS), help="only this workload")
    ap.add_argument("-f", "--file", default=str(BENCH / "contestants.toml"), help="the contestants file")
    ap.add_argument("-r", "--rounds", type=int, default=5)
    ap.add_argument("-s", "--seconds", type=int, default=4, help="length of one measured run (at most 20)")
    ap.add_argument("--pin", choices=["split", "none"], default="split")
    ap.add_argument("--instr", action="store_true", help="also user instructions per request (valgrind)")
    ap.add_argument("--gate", action="store_true", help="fail where they are more than the contestants file allows; implies --instr")
    ap.add_argument("--syscalls", action="store_true", help="also system calls per request (strace)")
    ap.add_argument("--memory", action="store_true", help="also memory per idle connection")
    ap.add_argument("--scale", action="store_true", help="also what a second worker adds")
    ap.add_argument("--json", help="write everything to this file")
    ap.add_argument("--targets", action="store_true", help="Weir as a share of its peers, beside what it may cost at most")
    ap.add_argument("--svg", help="draw the shares into this file")
    ap.add_argument("--list", action="store_true")
    a = ap.parse_args()
    a.instr |= a.gate
    if a.seconds > 20:
        sys.exit("runs are bounded to 20 s")
    table = tomllib.loads(pathlib.Path(a.file).read_text())
    if a.list:
        print("contestants:", *table, "\nworkloads:", *WORKLOADS)
        return
    unknown = set(a.contestant or ()) - set(table)
    if unknown:
        sys.exit(f"not in {a.file}: {', '.join(sorted(unknown))}")
    names = a.contestant or list(table)
    missing = {n: program for n in names if (program := absent(table[n]))}
    for n, program in missing.items():
        print(f"{n} is left out: there is no {program}")
    names = [n for n in names if n not in missing]
    work = a.workload or (list(WORKLOADS) if not (a.instr or a.syscalls or a.memory or a.scale) or a.rounds else [])
    render()
    proxy_cpus, load_cpus = ({0}, {1}) if a.pin == "split" else (None, None)

    started, result = [], {"pin": a.pin, "seconds": a.seconds, "runs": {}, "median": {}, "missing": sorted(missing),
                       "instr": {}, "syscalls": {}, "memory": {}, "scale": {}}
    origin = Proc([str(ORIGIN), str(STABLE), str(CANARY)], load_cpus)
    try:
        wait_port(STABLE)
        contestants = []
        for n in names:
            c = Contestant(n, table[n], proxy_cpus)
            contestants.append(c)
            if c.proc:
                started.append(c.proc)
        for w in work if a.rounds else []:
            taking = [c for c in contestants if c.tls == (w in ENCRYPTED)]
            runs = {c.name: [] for c in taking}
            for _ in range(a.rounds):
                for c in taking:
                    runs[c.name].append(measure(c, w, a.seconds, load_cpus))
            result["runs"][w] = runs
            print(f"\n{w}: median of {a.rounds} rounds of {a.seconds} s, pin={a.pin}")
            print(f"{'':18}{'CPU us/req':>11}{'(min-max)':>15}{'user':>7}{'sys':>7}{'busy':>6}{'req/s':>9}{'p50 us':>9}{'p99 us':>9}{'err':>6}")
            result["median"][w] = {}
            for n, rows in runs.items():
                m = {k: med(rows, k) for k in rows[0]}
                m["errors"] = sum(r["errors"] for r in rows)
                result["median"][w][n] = m
                lo, hi = min(r["cpu_us"] for r in rows), max(r["cpu_us"] for r in rows)
                span = f"({lo:.2f}-{hi:.2f})"
                print(f"{n:18}{m['cpu_us']:11.2f}{span:>15}{m['user_us']:7.2f}{m['sys_us']:7.2f}{m['busy']:6.2f}"
                      f"{m['rps']:9.0f}{m['p50_us']:9.0f}{m['p99_us']:9.0f}{m['errors']:6}", flush=True)
        if a.syscalls:
            for w in a.workload or ["get128"]:
                print(f"\nsystem calls per request, {NAMES.get(w, w)}")
                for c in contestants:
                    if c.tls != (w in ENCRYPTED):
                        continue
                    r = syscalls(c, w, load_cpus)
                    result["syscalls"].setdefault(w, {})[c.name] = r
                    print(f"{c.name:18}", " ".join(f"{k}={v}" for k, v in r.items()), flush=True)
        if a.memory:
            print("\nmemory of idle keep-alive connections")
            for c in contestants:
                for count in [] if c.tls else table[c.name].get("idle", [2000]):
                    r = idle_memory(c, count)
                    result["memory"].setdefault(c.name, {})[count] = r
                    print(f"{c.name:18} {count:6}", " ".join(f"{k}={v}" for k, v in r.items()), flush=True)
        for p in started:
            p.stop()
        if a.scale:
            everywhere = os.sched_getaffinity(0)
            os.sched_setaffinity(origin.pid, everywhere)
            result["scale"] = scale(table, everywhere, max(a.rounds, 1), a.seconds)
            print("\na second worker, the same load for each")
            for what, r in result["scale"].items():
                print(f"{what:18}", " ".join(f"{k}={v}" for k, v in r.items()) if isinstance(r, dict) else r, flush=True)
        if a.instr:
            result["instr"] = instructions([n for n in names if not table[n].get("tls")], table)
            print("\nuser instructions per request, GET 128 B")
            for n, r in result["instr"].items():
                print(f"{n:18}", " ".join(f"{k}={v}" for k, v in r.items()), flush=True)
        if a.gate:
            gate(result["instr"], table)
    finally:
        for p in started:
            p.stop()
        origin.stop()
        if a.targets:
            shares(result)
            tables(result)
        if a.svg:
            pathlib.Path(a.svg).write_text(plot(result))
        if a.json:
            pathlib.Path(a.json).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
