"""TLS as a hostile or merely strange client does it. Arguments: the port with STARTTLS, the port with implicit TLS."""
import socket
import ssl
import sys

STARTTLS, IMPLICIT = int(sys.argv[1]), int(sys.argv[2])


class Client:
    def __init__(self, port, greeting=True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")
        if greeting:
            self.expect("220")

    def reply(self):
        lines = []
        while True:
            line = self.file.readline()
            lines.append(line)
            if line[3:4] != b"-":
                return b"".join(lines).decode()

    def expect(self, code):
        reply = self.reply()
        assert reply.startswith(code), f"{reply!r}, expected {code}"
        return reply

    def ask(self, line, code):
        self.socket.sendall(line.encode() + b"\r\n")
        try:
            return self.expect(code)
        except AssertionError as error:
            raise AssertionError(f"{line}: {error}") from None

    def encrypt(self, alpn=None, versions=None):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(alpn)
        if versions:
            context.minimum_version = context.maximum_version = versions
        self.socket = context.wrap_socket(self.socket, server_hostname="mx.posthaste.test")
        self.file = self.socket.makefile("rb")
        return self


def refused(act):
    try:
        act()
    except (ssl.SSLError, OSError):
        return
    raise AssertionError("it was not refused")


# STARTTLS: not in a transaction, nothing is remembered, not twice; REQUIRETLS is offered inside only.
c = Client(STARTTLS)
assert "REQUIRETLS" not in c.ask("EHLO x.test", "250")
c.ask("MAIL FROM:<a@one.test>", "250")
c.ask("STARTTLS", "503")
c.ask("RSET", "250")
c.ask("STARTTLS", "220")
c.encrypt()
c.ask("MAIL FROM:<a@one.test>", "503")
c.ask("RCPT TO:<b@two.test>", "503")
offer = c.ask("EHLO x.test", "250")
assert "REQUIRETLS" in offer and "STARTTLS" not in offer, offer
c.ask("STARTTLS", "503")
c.ask("MAIL FROM:<a@one.test> REQUIRETLS", "250")
c.ask("RCPT TO:<b@two.test>", "250")
c.ask("DATA", "354")
c.ask("Subject: secret\r\nMessage-ID: <1@one.test>\r\n\r\nbody\r\n.", "250")
c.ask("QUIT", "221")

# What was sent in clear behind STARTTLS is never answered.
c = Client(STARTTLS)
c.ask("EHLO x.test", "250")
c.socket.sendall(b"STARTTLS\r\nRSET\r\n")
c.expect("220")
c.encrypt()
c.ask("NOOP injected", "250")
c.socket.sendall(b"QUIT\r\n")
c.expect("221")

# Implicit TLS: ALPN is ours or none, old versions are not spoken, both new ones are.
for alpn in (None, ["smtp"], ["h2", "smtp"]):
    c = Client(IMPLICIT, greeting=False).encrypt(alpn)
    c.expect("220")
    c.ask("EHLO x.test", "250")
for alpn in (["http/1.1"], ["h2", "imap"]):
    refused(lambda: Client(IMPLICIT, greeting=False).encrypt(alpn))
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    Client(IMPLICIT, greeting=False).encrypt(versions=version).expect("220")

# A chunk that ends with close_notify and goes on in clear (CVE-2026-45185) is no message.
c = Client(IMPLICIT, greeting=False).encrypt()
c.expect("220")
c.ask("EHLO x.test", "250")
c.ask("MAIL FROM:<a@one.test>", "250")
c.ask("RCPT TO:<b@two.test>", "250")
c.socket.sendall(b"BDAT 10 LAST\r\nabc")
c.socket.settimeout(5)
try:
    clear = c.socket.unwrap()
    clear.sendall(b"0123456")
    assert clear.recv(100) == b"", "octets in clear were heard"
except (ssl.SSLError, OSError):
    pass
Client(STARTTLS).ask("NOOP", "250")

# Connections that never say their hello keep nobody from TLS.
silent = [Client(IMPLICIT, greeting=False) for _ in range(150)]
half = [Client(IMPLICIT, greeting=False) for _ in range(40)]
for c in half:
    c.socket.sendall(b"\x16\x03\x01\x02\x00\x01")
Client(IMPLICIT, greeting=False).encrypt().expect("220")
c = Client(STARTTLS)
c.ask("EHLO x.test", "250")
c.ask("STARTTLS", "220")
c.encrypt().ask("EHLO x.test", "250")
