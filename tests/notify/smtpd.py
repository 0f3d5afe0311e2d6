"""A mail server of Debian's python3-aiosmtpd that prints what it gets, a line of JSON a message.

Arguments: certificate and key for STARTTLS, which it requires, and the user and password it knows.
"""
import json
import socket
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

chain, key, user, password = sys.argv[1:]


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": message["subject"],
            "id": message["message-id"],
            "text": message.get_content(),
            "encrypted": session.ssl is not None,
            "authenticated": session.authenticated,
        }), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    known = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=known, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
controller = Controller(
    Handler(), hostname="127.0.0.1", port=port, ready_timeout=30, tls_context=context, require_starttls=True,
    authenticator=authenticate, auth_required=True)
controller.start()
print(port, flush=True)
sys.stdin.read()
controller.stop()
