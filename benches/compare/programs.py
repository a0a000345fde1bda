"""The programs under comparison: each starts on a free port in a folder of its own, says when it is done, and ends."""
import os, pathlib, re, resource, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request

from machine import cpu_seconds, written_bytes

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process=None, seconds=60):
    """Waits until a port greets; the seconds that took."""
    start = time.time()
    while time.time() - start < seconds:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server on port {port} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                s.settimeout(2)
                if s.recv(100):
                    took = time.time() - start
                    s.sendall(b"QUIT\r\n")
                    s.recv(100)
                    return took
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"nothing answers on port {port}")


def settle(pid, seconds=60):
    """Waits until a program neither works nor writes (Posthaste zero-fills its segments once); when it last did."""
    end, last = time.time() + seconds, time.time()
    while time.time() < end:
        before, written = cpu_seconds(pid), written_bytes(pid)
        time.sleep(0.4)
        if cpu_seconds(pid) - before < 0.02 and written_bytes(pid) == written:
            return last
        last = time.time()
    return last


def find(*names):
    """The first of these programs that is installed."""
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if found:
            return found
    return None


class Program:
    """One running server. `durability` says what it has done when it says 250."""
    name, durability = "", "synced before 250"
    kinds = ("accept", "conn", "relay")
    # Slow programs get a share of the messages: figures are per message, and nobody wants to wait.
    share = 1.0
    process = None

    def __init__(self, work, sink, accept_only):
        self.port = free_port()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=self.name, dir=work))
        os.chmod(self.dir, 0o755)
        self.sink_port, self.accept_only = sink, accept_only
        self.log = open(self.dir / "out", "wb")
        try:
            self.start()
        except BaseException:
            print(self.output()[-2000:], file=sys.stderr)
            self.stop()
            raise

    def template(self, name, **values):
        """A configuration of this folder with `@KEY@` replaced."""
        text = (HERE / name).read_text()
        for key, value in {"DIR": self.dir, "PORT": self.port, "SINK": self.sink_port, **values}.items():
            text = text.replace(f"@{key}@", str(value))
        return text

    def spawn(self, *command, **more):
        self.process = subprocess.Popen(list(map(str, command)), cwd=self.dir, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, **more)
        self.pid = self.process.pid
        self.start_seconds = wait_port(self.port, self.process)

    def output(self):
        return (self.dir / "out").read_text(errors="replace") if (self.dir / "out").exists() else ""

    def queued(self):
        """How many recipients wait; None where nobody can tell."""
        return None

    def drained(self, limit=600):
        """Waits until all has left; when that was."""
        end = time.time() + limit
        while time.time() < end:
            waiting = self.queued()
            if waiting is None:
                return settle(self.pid)
            if waiting == 0:
                return time.time()
            time.sleep(0.03)
        raise RuntimeError(f"{self.name}: {waiting} are still queued after {limit} s")

    def counters(self):
        """Counters of its own, where it has some."""
        return {}

    def end_process(self):
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self):
        self.end_process()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Posthaste(Program):
    name = "posthaste"
    binary = None
    arguments, threads, retry = (), None, "1s"

    @classmethod
    def missing(cls):
        cls.binary = cls.binary or os.environ.get("POSTHASTE_BINARY") or ROOT / "target/release/posthaste"
        return None if os.access(cls.binary, os.X_OK) else f"{cls.binary} is not there: cargo build --release, or --bin FILE"

    @classmethod
    def version(cls):
        return subprocess.run([cls.binary, "--version"], capture_output=True, text=True).stdout.strip()

    def start(self):
        self.metrics = free_port()
        threads = self.threads if self.threads is not None else 0 if self.accept_only else 100
        (self.dir / "posthaste.toml").write_text(
            self.template("posthaste.toml", METRICS=self.metrics, THREADS=threads, RETRY=self.retry))
        self.launch()

    def launch(self):
        self.spawn(self.binary, "run", "-c", self.dir / "posthaste.toml", *self.arguments,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors(), descriptors())))

    def counters(self):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics").read().decode()
        return {k: float(v) for k, v in re.findall(r"^posthaste_(\w+) ([0-9.e+]+)$", text, re.M)}

    def queued(self):
        return int(self.counters()["queue_recipients"])


class Floor(Program):
    """`benches/floor`: the same bytes, the same replies, appended and synced in groups, and nothing else."""
    name = "floor"
    binary = None
    kinds = ("accept", "relay")

    @classmethod
    def missing(cls):
        default = ROOT / "target/release/posthaste-floor"
        cls.binary = cls.binary or os.environ.get("POSTHASTE_FLOOR_BINARY") or default
        build = "cargo build --release -p posthaste-floor, or --floor-bin FILE"
        return None if os.access(cls.binary, os.X_OK) else f"{cls.binary} is not there: {build}"

    @classmethod
    def version(cls):
        return "posthaste-floor"

    def start(self):
        hop = [] if self.accept_only else [f"127.0.0.1:{self.sink_port}"]
        self.spawn(self.binary, f"127.0.0.1:{self.port}", self.dir / "log", *hop)


class Postfix(Program):
    name, share = "postfix", 0.25

    @classmethod
    def missing(cls):
        if os.geteuid() != 0:
            return "postfix wants root"
        return None if find("postfix") else "postfix is not installed"

    @classmethod
    def version(cls):
        shown = subprocess.run([find("postconf"), "-d", "-h", "mail_version"], capture_output=True, text=True)
        return f"Postfix {shown.stdout.strip()}"

    def start(self):
        hold = "check_client_access static:HOLD, " if self.accept_only else ""
        (self.dir / "main.cf").write_text(self.template("postfix-main.cf", HOLD=hold))
        (self.dir / "master.cf").write_text(self.template("postfix-master.cf"))
        (self.dir / "spool").mkdir()
        (self.dir / "data").mkdir()
        shutil.chown(self.dir / "data", "postfix")
        self.control("set-permissions")
        self.control("check")
        if self.control("start") != 0:
            raise RuntimeError("postfix does not start")
        wait_port(self.port)
        self.pid = int((self.dir / "spool/pid/master.pid").read_text())

    def control(self, word):
        return subprocess.run([find("postfix"), "-c", self.dir, word], stdout=self.log, stderr=self.log).returncode

    def queued(self):
        return sum(len(files) for name in ("incoming", "active", "deferred", "maildrop")
                   for _, _, files in os.walk(self.dir / "spool" / name))

    def end_process(self):
        self.control("stop")


class Exim(Program):
    """One process per session that leaves after a bounded number of messages: so it was made."""
    name, share = "exim", 0.05

    @classmethod
    def missing(cls):
        if os.geteuid() != 0:
            return "exim wants root"
        return None if find("exim4", "exim") else "exim is not installed"

    @classmethod
    def version(cls):
        shown = subprocess.run([find("exim4", "exim"), "-bV"], capture_output=True, text=True).stdout
        return "Exim " + (shown.split()[2] if len(shown.split()) > 2 else "?")

    def start(self):
        user = subprocess.run([find("exim4", "exim"), "-bP", "exim_user"], capture_output=True, text=True).stdout
        user = user.split("=")[-1].strip() or "Debian-exim"
        for name in ("spool", "log"):
            (self.dir / name).mkdir()
            shutil.chown(self.dir / name, user)
        config = self.dir / "exim.conf"
        config.write_text(self.template("exim.conf", QUEUE="true" if self.accept_only else "false", USER=user))
        self.spawn(find("exim4", "exim"), "-C", config, "-bdf", "-q1h")

    def queued(self):
        return sum(name.endswith("-H") for _, _, files in os.walk(self.dir / "spool/input") for name in files)


class OpenSmtpd(Program):
    """Its spool is where the package says; it is left as it was found: no other queue must be there."""
    name, share = "opensmtpd", 0.1
    durability = "written, not synced"
    spool = pathlib.Path("/var/spool/smtpd")

    @classmethod
    def missing(cls):
        if os.geteuid() != 0:
            return "OpenSMTPD wants root"
        if not find("smtpctl") or not find("smtpd"):
            return "OpenSMTPD is not installed"
        taken = any(files for part in ("queue", "incoming") for _, _, files in os.walk(cls.spool / part))
        return f"{cls.spool} holds mail" if taken else None

    @classmethod
    def version(cls):
        shown = subprocess.run([find("smtpd"), "-h"], capture_output=True, text=True)
        return (shown.stdout + shown.stderr).split("\n")[0].replace("version: ", "").strip()

    def start(self):
        config = self.dir / "smtpd.conf"
        config.write_text(self.template("opensmtpd.conf"))
        self.spawn(find("smtpd"), "-F", "-f", config)
        if self.accept_only:
            subprocess.run([find("smtpctl"), "pause", "mta"], stdout=self.log, stderr=self.log)

    def queued(self):
        return sum(len(files) for _, _, files in os.walk(self.spool / "queue"))

    def stop(self):
        super().stop()
        for part in ("queue", "incoming"):
            for bucket in (self.spool / part).glob("*"):
                shutil.rmtree(bucket, ignore_errors=True)


class Haraka(Program):
    name, share = "haraka", 0.1
    durability = "written; whether it syncs is not known"

    @classmethod
    def missing(cls):
        return None if find("haraka") else "Haraka is not installed (npm install -g Haraka)"

    @classmethod
    def version(cls):
        return "Haraka " + subprocess.run([find("haraka"), "--version"], capture_output=True, text=True).stdout.split()[-1]

    def start(self):
        config = self.dir / "config"
        config.mkdir()
        (self.dir / "queue").mkdir()
        (self.dir / "plugins").mkdir()
        for file in (HERE / "haraka").iterdir():
            place = self.dir / "plugins" if file.suffix == ".js" else config
            (place / file.name).write_text(self.template(f"haraka/{file.name}"))
        if self.accept_only:
            (config / "outbound.ini").write_text("disabled=true\n")
        self.spawn(find("haraka"), "-c", self.dir)

    def queued(self):
        return sum(len(files) for _, _, files in os.walk(self.dir / "queue"))


PROGRAMS = [Posthaste, Postfix, Floor, Exim, OpenSmtpd, Haraka]


def descriptors():
    """As many descriptors as this process may give away."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 20)
