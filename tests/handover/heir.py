"""An heir that says something else after Go, and keeps the journal: `heir.py SOCKET JOURNAL.lock`."""

import fcntl
import json
import socket
import sys
import time

place, lock = sys.argv[1:]
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect(place)


def say(**message):
    link.send(json.dumps(message).encode())


def hear(wanted):
    while True:
        said = json.loads(link.recv(1 << 17))["say"]
        if said == wanted:
            return
        if said != "lowered" and said != "sockets":
            sys.exit(f"{said} instead of {wanted}")


say(say="hello", protocol=1, weir="9.9.9")
hear("sockets")
say(say="prepared")
hear("released")
held = open(lock, "a")
fcntl.flock(held, fcntl.LOCK_EX)
say(say="opened")
hear("go")
say(say="opened")
time.sleep(600)
