"""The workloads: each drives one running program and gives its figures."""
import json, os, pathlib, re, socket, subprocess, time

from machine import Watch, cpu_seconds, device_bytes, resident_bytes
from programs import ROOT, descriptors, find, free_port, settle, wait_port

GENERATOR = None  # the loadgen binary, once `choose_generator` has found one that works
SOURCE = "smtp-source"


def choose_generator(binary):
    """Finds posthaste-loadgen; a reason where it is not of use."""
    global GENERATOR
    binary = binary or os.environ.get("POSTHASTE_LOADGEN") or ROOT / "target/release/posthaste-loadgen"
    if not os.access(binary, os.X_OK):
        return f"{binary} is not there (cargo build --release -p posthaste-loadgen, or --loadgen-bin FILE)"
    if subprocess.run([binary, "source", "--help"], capture_output=True).returncode != 0:
        return f"{binary} has no source yet"
    GENERATOR = str(binary)
    return None


class Sink:
    """The next hop: smtp-sink, for all programs the same."""

    def __init__(self, work):
        self.port = free_port()
        conf = work / "sink"
        conf.mkdir(exist_ok=True)
        (conf / "main.cf").write_text(f"mail_owner = postfix\nqueue_directory = {conf}\ncompatibility_level = 3.6\n")
        self.process = subprocess.Popen(
            [find("smtp-sink"), "-u", "nobody", f"127.0.0.1:{self.port}", "2000"],
            env={**os.environ, "MAIL_CONFIG": str(conf)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_port(self.port, self.process)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def send(port, sessions, messages, size, reuse=True, patience=1800):
    """So many messages, closed loop, each session waiting for every reply."""
    if SOURCE == "loadgen":
        command = [GENERATOR, "source", f"127.0.0.1:{port}", "-n", str(messages), "-s", str(sessions), "--size", str(size),
                   "--no-pipelining", "--quiet", "--from", "sender@bench.test", "--to", "recipient@bench.test"]
        command += [] if reuse else ["-c", "1"]
    else:
        command = [find("smtp-source"), "-s", str(sessions), "-m", str(messages), "-l", str(size),
                   "-f", "sender@bench.test", "-t", "recipient@bench.test", "-4"]
        command += (["-d"] if reuse else []) + [f"inet:127.0.0.1:{port}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=patience)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-500:]}")


def traffic(program, work, sink, kind, size, sessions, messages):
    """One run of accept, conn or relay: figures per message. `kind` conn is accept with one message per connection."""
    accept_only, reuse, messages = kind != "relay", kind != "conn", max(int(messages * program.share), 4 * sessions)
    server = program(work, sink.port, accept_only)
    try:
        send(server.port, sessions, max(messages // 10, min(messages, 500)), size)  # warm-up, not counted
        if not accept_only:
            server.drained()
        settle(server.pid)
        watch = Watch([server.pid])
        before, cpu, written, start = server.counters(), cpu_seconds(server.pid), device_bytes(work), time.time()
        send(server.port, sessions, messages, size, reuse)
        end = time.time() if accept_only else server.drained()
        cpu = cpu_seconds(server.pid) - cpu
        seen = watch.stop()
        time.sleep(0.15)  # its counters are taken over every 50 ms
        after = server.counters()
        written = None if written is None else device_bytes(work) - written
        grown = {key: after[key] - before.get(key, 0) for key in after}
        check(server, kind, messages, grown)
    finally:
        server.stop()
    figures = {"messages": messages, "cpu_ms": cpu * 1000 / messages, "rate": messages / max(end - start, 0.001), "noise": seen,
               "written": None if written is None else written / messages}
    if grown:
        figures |= {
            "syncs": grown["spool_syncs_total"] / messages,
            "spool_ratio": grown["spool_bytes_written_total"] / max(grown["session_content_bytes_total"], 1),
            "crossed": grown["shard_messages_total"] / messages,
            "connections": grown["delivery_connections_total"] / messages,
        }
    return figures


def check(server, kind, messages, grown):
    """No figure counts when mail was refused or not delivered."""
    if not grown:
        return
    accepted = grown["session_messages_accepted_total"]
    delivered = grown["delivery_recipients_delivered_total"]
    if accepted != messages or (kind == "relay" and delivered != messages):
        raise RuntimeError(f"{server.name}: of {messages} messages {accepted:.0f} were accepted, {delivered:.0f} delivered")


def latency(program, work, sink, sessions, seconds):
    """Open loop at 70 % of the highest rate at which the p99 stays under 50 ms; milliseconds from the intended time."""
    server = program(work, sink.port, True)
    try:
        settle(server.pid)
        find_max = generate(server.port, sessions, "--find-max", "--p99", "50ms", "--step-time", f"{seconds}s")
        best = max(step["achieved"] for step in find_max["search"] if step["is_met"])
        watch = Watch([server.pid])
        cpu = cpu_seconds(server.pid)
        run = generate(server.port, sessions, "--rate", f"{best * 0.7:.0f}", "-t", f"{seconds * 3}s")
        cpu, seen = cpu_seconds(server.pid) - cpu, watch.stop()
    finally:
        server.stop()
    span = next(phase["latency"] for phase in run["phases"] if phase["name"] == "end to end")
    return {"best_rate": best, "rate": run["totals"]["rate"], "p50_ms": span["p50_us"] / 1000, "p99_ms": span["p99_us"] / 1000,
            "p999_ms": span["p999_us"] / 1000, "max_ms": span["max_us"] / 1000, "noise": seen,
            "cpu_ms": cpu * 1000 / max(run["totals"]["acknowledged_in_all"], 1)}


def generate(port, sessions, *more):
    done = subprocess.run([GENERATOR, "source", f"127.0.0.1:{port}", "-s", str(sessions), "--size", "1K", "--quiet",
                           "--json", "-", *more], capture_output=True, text=True, timeout=900)
    start = done.stdout.find("{")
    if "no rate meets" in done.stderr:
        raise RuntimeError("at no rate a p99 below 50 ms: the disk or other work is too slow for this row")
    if done.returncode != 0 or start < 0:
        raise RuntimeError(f"posthaste-loadgen: {done.stderr[-500:]}")
    return json.JSONDecoder().raw_decode(done.stdout[start:])[0]


def greeted(port, address):
    """A connection that has said EHLO."""
    link = socket.socket()
    link.bind((address, 0))
    link.settimeout(30)
    link.connect(("127.0.0.1", port))
    link.recv(512)
    link.sendall(b"EHLO idle.test\r\n")
    link.recv(4096)
    return link


def idle(program, work, sink, counts):
    """Resident bytes per idle session at each of these counts, the first hundred sessions not counted."""
    server = program(work, sink.port, True)
    links, rows = [], []
    try:
        settle(server.pid)
        room = descriptors() - 200
        links += [greeted(server.port, "127.0.0.1") for _ in range(100)]
        time.sleep(0.5)
        base, base_count = resident_bytes(server.pid), len(links)
        for count in counts:
            if count > room:
                rows.append({"sessions": count, "left_out": f"this shell gives only {room + 200} descriptors (ulimit -Hn)"})
                continue
            try:
                while len(links) < base_count + count:
                    links.append(greeted(server.port, f"127.0.{1 + len(links) // 10_000}.1"))
            except OSError as error:
                rows.append({"sessions": count, "left_out": f"after {len(links)} sessions: {error}"})
                break
            settle(server.pid, 10)
            cpu, start = cpu_seconds(server.pid), time.time()
            time.sleep(2)
            share = (cpu_seconds(server.pid) - cpu) / (time.time() - start)
            opened = len(links) - base_count
            rows.append({"sessions": opened, "bytes": (resident_bytes(server.pid) - base) / opened, "idle_cpu": share})
    finally:
        for link in links:
            link.close()
        server.stop()
    return rows


def queued(program, work, sessions, count):
    """`count` deferred messages: what they hold in memory, and what a restart takes."""
    closed = free_port()  # nobody listens there: every message is deferred
    kind = type("Deferring", (program,), {"threads": 100, "retry": "1d"})
    server = kind(work, closed, False)
    try:
        settle(server.pid)
        send(server.port, sessions, 1000, 1024)
        settle(server.pid)
        before, start = resident_bytes(server.pid), time.time()
        send(server.port, sessions, count, 1024)
        took = time.time() - start
        end = time.time() + 600
        while time.time() < end:
            now = server.counters()
            if now["delivery_attempts_open"] == 0 and now["queue_recipients_ready"] == 0:
                break
            time.sleep(0.2)
        settle(server.pid)
        running = (resident_bytes(server.pid) - before) / count
        total = server.queued()
        server.end_process()
        empty = kind(work, closed, False)
        try:
            settle(empty.pid)
            bare = resident_bytes(empty.pid)
        finally:
            empty.stop()
        start = time.time()
        server.launch()
        accepting = time.time() - start
        while time.time() - start < 600:
            now = server.counters()
            if now["spool_recovery_segments_pending"] == 0 and now["queue_recipients"] >= total:
                break
            time.sleep(0.05)
        scheduled = time.time() - start
        settle(server.pid)
        restarted = (resident_bytes(server.pid) - bare) / total
        return {"queued": total, "enqueue_rate": count / took, "bytes_running": running, "bytes_restarted": restarted,
                "accepting_s": accepting, "scheduled_s": scheduled}
    finally:
        server.stop()


def shards(program, work, sink, kind, count, messages):
    """Figures per message with this many shards and 50 sessions for each."""
    each = type("Sharded", (program,), {"arguments": ("--shards", str(count))})
    server = each(work, sink.port, kind == "accept")
    try:
        sessions = 50 * count
        send(server.port, sessions, max(messages // 4, 2 * sessions), 1024)
        if kind != "accept":
            server.drained()
        settle(server.pid)
        before, cpu, counted = server.counters(), cpu_seconds(server.pid), Instructions(server.pid)
        start = time.time()
        send(server.port, sessions, messages, 1024)
        end = time.time() if kind == "accept" else server.drained()
        instructions, cpu = counted.stop(), cpu_seconds(server.pid) - cpu
        time.sleep(0.15)
        grown = {key: value - before.get(key, 0) for key, value in server.counters().items()}
        check(server, kind, messages, grown)
    finally:
        server.stop()
    return {"shards": count, "kind": kind, "cpu_ms": cpu * 1000 / messages, "rate": messages / (end - start),
            "syncs": grown["spool_syncs_total"] / messages, "crossed": grown["shard_messages_total"] / messages,
            "connections": grown["delivery_connections_total"] / messages,
            "instructions": None if instructions is None else instructions / messages}


class Instructions:
    """Instructions in user space of a process, by perf; None where the machine does not count them."""

    def __init__(self, pid):
        self.process = None
        if find("perf"):
            self.process = subprocess.Popen([find("perf"), "stat", "-x,", "-e", "instructions:u", "-p", str(pid)],
                                            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            time.sleep(0.2)

    def stop(self):
        if self.process is None:
            return None
        self.process.send_signal(2)  # SIGINT: it prints and ends
        text = self.process.communicate(timeout=30)[1]
        found = re.search(r"^(\d+),", text, re.M)
        return int(found.group(1)) if found else None
