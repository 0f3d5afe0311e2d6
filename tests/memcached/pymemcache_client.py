"""What an app does with pymemcache, on the ports of two versions."""

import sys

from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheIllegalInputError

one, two = (Client(("127.0.0.1", int(port)), default_noreply=False) for port in sys.argv[1:])
pool = PooledClient(("127.0.0.1", int(sys.argv[1])), max_pool_size=4, default_noreply=False)

assert one.set("k", "one") and two.set("k", "two")
assert one.get("k") == b"one" and two.get("k") == b"two"
keys = [f"key:{number}" for number in range(500)] + ["l" * 250]
assert one.set_many({key: key.upper() for key in keys}) == []
got = one.get_many(keys + [f"no:{number}" for number in range(500)])
assert got == {key: key.upper().encode() for key in keys}, len(got)
assert two.get_many(keys) == {}
assert pool.get("key:7") == b"KEY:7"

value, cas = one.gets("k")
assert one.cas("k", "newer", cas) is True
assert one.cas("k", "late", cas) is False
assert one.add("k", "x") is False and one.replace("none", "x") is False
assert one.append("k", "!") and one.prepend("k", "<") and one.get("k") == b"<newer!"
assert one.set("n", "5") and one.incr("n", 3) == 8 and one.decr("n", 10) == 0
assert one.incr("none", 1) is None
assert one.touch("k", 100) is True
assert one.set("quiet", "x", noreply=True) is True and one.get("quiet") == b"x"
assert one.delete("k") is True and one.delete("k") is False
assert one.version().startswith(b"1.")
assert b"curr_items" in one.stats()
try:
    one.set("l" * 251, "x")
    sys.exit("a key that is too long was taken")
except MemcacheIllegalInputError:
    pass
big = b"\r\nEND\r\nVALUE k 0 1\r\n" * 20000
assert one.set("big", big) and one.get("big") == big
assert two.set("stays", "x")
assert one.flush_all() is True
assert one.get_many(keys) == {} and pool.get("key:7") is None
assert two.get("stays") == b"x"
print("all is well")
