"""gRPC as its own library speaks it: `calls.py serve` is a server and prints its port,
`calls.py call PORT` calls each of its methods and prints what they come to."""

import sys
import threading
from concurrent import futures

import grpc

SERVICE = "weir.Test"


def echo(request, context):
    context.set_trailing_metadata((("x-length", str(len(request))), ("x-seen-bin", b"\x00\xff")))
    return request


def fail(request, context):
    context.abort(grpc.StatusCode[request.decode()], "as asked: \u00e4")


def count(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def split(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def talk(requests, context):
    for request in requests:
        yield request.upper()


CANCELLED = threading.Event()


def hang(request, context):
    context.add_callback(CANCELLED.set)
    CANCELLED.wait(30)
    return b""


def was_cancelled(request, context):
    return b"yes" if CANCELLED.wait(20) else b"no"


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Count": grpc.stream_unary_rpc_method_handler(count),
        "Split": grpc.unary_stream_rpc_method_handler(split),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()


def call(port):
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    path = "/" + SERVICE + "/"
    answer, outcome = channel.unary_unary(path + "Echo").with_call(
        b"hello", metadata=(("x-one", "1"), ("x-two-bin", b"\x00\x01")), timeout=60
    )
    trailers = dict(outcome.trailing_metadata())
    print("echo", answer, trailers["x-length"], trailers["x-seen-bin"])
    large = b"x" * 3_000_000
    print("large", channel.unary_unary(path + "Echo")(large, timeout=180) == large)
    for code in ("NOT_FOUND", "UNAVAILABLE", "INTERNAL"):
        try:
            channel.unary_unary(path + "Fail")(code.encode(), timeout=60)
        except grpc.RpcError as error:
            print("fail", error.code().name, error.details())
    messages = (b"small" for _ in range(5_000))
    print("count", channel.stream_unary(path + "Count")(messages, timeout=180))
    numbers = list(channel.unary_stream(path + "Split")(b"2000", timeout=180))
    print("split", len(numbers), numbers[-1])
    # Each message is sent only when the one before has come back.
    back = threading.Semaphore(1)

    def words():
        for word in (b"one", b"two", b"three"):
            back.acquire()
            yield word

    said = []
    for word in channel.stream_stream(path + "Talk")(words(), timeout=60):
        said.append(word)
        back.release()
    print("talk", said)
    try:
        channel.unary_unary(path + "Hang")(b"", timeout=1)
    except grpc.RpcError as error:
        print("hang", error.code().name)
    print("cancelled", channel.unary_unary(path + "WasCancelled")(b"", timeout=30))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        call(sys.argv[2])
