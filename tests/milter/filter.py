"""A filter on libmilter that logs every callback with its symbols and does what it is told.

filter.py SOCKET LOG [quiet] [leadspc] [rcptrej] [symbols] [v2]

  quiet    asks that nothing be answered before the end of message
  leadspc  takes and gives values of fields with the space after the colon
  rcptrej  wants to hear of recipients that the MTA refused
  symbols  chooses its symbols for MAIL and for the end of message
  v2       needs no action that came after version 2

What it is told: `do.STAGE.VERB` at the front of a HELO name or of the local-part of a path makes that stage (helo, mail,
rcpt) answer VERB; in the path of MAIL it may also name data, header, eoh, body. A field `X-Do: [["verb", argument, …], …]`
is done at the end of the message, and `X-Verdict: VERB` is the verdict then.
"""

import json
import sys

import Milter

SYMBOLS = """j _ v i {daemon_addr} {daemon_name} {daemon_port} {if_addr} {if_name} {client_addr} {client_connections}
{client_name} {client_port} {client_ptr} {client_resolve} {tls_version} {cipher} {cipher_bits} {cert_subject}
{cert_issuer} {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer} {rcpt_addr} {rcpt_host}
{rcpt_mailer}""".split()

SOCKET, LOG, MODES = sys.argv[1], open(sys.argv[2], "a", buffering=1), sys.argv[3:]

VERBS = {
    "continue": Milter.CONTINUE,
    "accept": Milter.ACCEPT,
    "reject": Milter.REJECT,
    "tempfail": Milter.TEMPFAIL,
    "discard": Milter.DISCARD,
    "skip": Milter.SKIP,
}

REPLIES = {
    "reply": ("554", "5.7.1", "not here"),
    "lines": ("550", "5.7.0", "one", "two 100%%", "three"),
    "bare": ("451", None, "later"),
    "bye": ("421", "4.7.0", "closing"),
}


class Filter(Milter.Base):
    def __init__(self):
        self.orders = {}
        self.edits = []
        self.verdict = "continue"
        self.is_quiet = False

    def note(self, event, *args):
        symbols = {name: self.getsymval(name) for name in SYMBOLS}
        known = {name: value for name, value in symbols.items() if value is not None}
        LOG.write(json.dumps({"event": event, "args": args, "symbols": known}) + "\n")

    def answer(self, verb):
        if verb in REPLIES:
            code, status, *lines = REPLIES[verb]
            self.setreply(code, status, *lines)
            return Milter.TEMPFAIL if code.startswith("4") else Milter.REJECT
        return VERBS[verb]

    def stage(self, name):
        verb = self.orders.get(name)
        if verb is None:
            return Milter.NOREPLY if self.is_quiet else Milter.CONTINUE
        return self.answer(verb)

    def order(self, text):
        words = text.strip("<>").split("@")[0].split(".")
        if words[0] == "do" and len(words) > 2:
            self.orders[words[1]] = words[2]

    def negotiate(self, opts):
        actions, steps = opts[0], opts[1]
        self._actions = actions
        LOG.write(json.dumps({"event": "negotiate", "args": [hex(actions), hex(steps)], "symbols": {}}) + "\n")
        quiet = (Milter.P_NR_CONN | Milter.P_NR_HELO | Milter.P_NR_MAIL | Milter.P_NR_RCPT | Milter.P_NR_DATA
                 | Milter.P_NR_HDR | Milter.P_NR_EOH | Milter.P_NR_BODY | Milter.P_NR_UNKN)
        wanted = Milter.P_SKIP
        self.is_quiet = "quiet" in MODES
        if self.is_quiet:
            wanted |= quiet
        if "leadspc" in MODES:
            wanted |= Milter.P_HDR_LEADSPC
        if "rcptrej" in MODES:
            wanted |= Milter.P_RCPT_REJ
        if "symbols" in MODES:
            # pymilter 1.0.5 hands its own method octets, which its own module refuses
            self._ctx.setsymlist(Milter.M_ENVFROM, "i {mail_addr}")
            self._ctx.setsymlist(Milter.M_EOM, "i {client_addr} {tls_version}")
        opts[1] = self._protocol = steps & wanted
        opts[2] = opts[3] = 0
        return Milter.CONTINUE

    def connect(self, hostname, family, hostaddr):
        address = list(hostaddr)[0] if hostaddr else None
        self.note("connect", hostname, address)
        return self.stage("connect")

    def hello(self, name):
        self.note("helo", name)
        self.order(name)
        return self.stage("helo")

    def envfrom(self, path, *parameters):
        self.orders, self.edits, self.verdict = {}, [], "continue"
        self.note("mail", path, *parameters)
        self.order(path)
        return self.stage("mail")

    def envrcpt(self, path, *parameters):
        self.note("rcpt", path, *parameters)
        own = dict(self.orders)
        self.order(path)
        answer = self.stage("rcpt")
        self.orders = own
        return answer

    def data(self):
        self.note("data")
        return self.stage("data")

    def header(self, name, value):
        self.note("header", name, value)
        if name == "X-Do":
            self.edits = json.loads(value)
        if name == "X-Verdict":
            self.verdict = value.strip()
        return self.stage("header")

    def eoh(self):
        self.note("eoh")
        return self.stage("eoh")

    def body(self, chunk):
        self.note("body", chunk.decode("latin-1"))
        return self.stage("body")

    def unknown(self, line):
        self.note("unknown", line)
        return self.stage("unknown")

    def eom(self):
        self.note("eom")
        for verb, *args in self.edits:
            if verb == "replacebody":
                self.replacebody(args[0].encode())
            else:
                if "leadspc" in MODES and verb in ("addheader", "chgheader"):
                    value = 2 if verb == "chgheader" else 1
                    is_deletion = verb == "chgheader" and not args[value]
                    if not is_deletion and not args[value].startswith((" ", "\t")):
                        args[value] = " " + args[value]
                getattr(self, verb)(*args)
        return self.answer(self.verdict)

    def abort(self):
        LOG.write(json.dumps({"event": "abort", "args": [], "symbols": {}}) + "\n")
        return Milter.CONTINUE

    def close(self):
        LOG.write(json.dumps({"event": "close", "args": [], "symbols": {}}) + "\n")
        return Milter.CONTINUE


Milter.factory = Filter
ACTIONS = Milter.ADDHDRS + Milter.CHGBODY + Milter.ADDRCPT + Milter.DELRCPT + Milter.CHGHDRS + Milter.QUARANTINE
if "v2" not in MODES:
    ACTIONS += Milter.CHGFROM + Milter.ADDRCPT_PAR + Milter.SETSYMLIST
Milter.set_flags(ACTIONS)
Milter.runmilter("posthaste-test", SOCKET, 60)
