"""The sample app of deploy/compose.yaml: says its version and counts its pages in a Redis.

VERSION   what it says
REDIS     host:port; without it nothing is counted
PORT      where it listens, 8000 if nothing is said
FAILING   of 100 pages, how many are a 500: a bad version, to see it rolled back
"""

import http.server
import os
import random
import socket

VERSION = os.environ.get("VERSION", "0")
REDIS = os.environ.get("REDIS", "")
FAILING = int(os.environ.get("FAILING", "0"))


def counted():
    """How often this version's page was asked for, by its part of the Redis."""
    host, port = REDIS.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=2) as redis:
        redis.sendall(b"*2\r\n$4\r\nINCR\r\n$5\r\npages\r\n")
        return int(redis.makefile("rb").readline().lstrip(b":"))


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, text = 200, f"version {VERSION}\n"
        if self.path != "/up":
            if random.randrange(100) < FAILING:
                status, text = 500, f"version {VERSION} fails\n"
            elif REDIS:
                try:
                    text += f"page {counted()}\n"
                except OSError:
                    text += "no cache\n"  # slower, not broken
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8000"))), App).serve_forever()
