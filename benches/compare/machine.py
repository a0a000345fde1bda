"""What is known of the machine and of processes: CPU, memory, bytes written, flush latency, and whether others disturb."""
import os, pathlib, platform, statistics, subprocess, time

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CPUS = len(os.sched_getaffinity(0))


def _processes():
    """Of every process: its parent, its CPU ticks with those of waited-for children."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            fields = stat[stat.rindex(")") + 2:].split()
            found[int(entry)] = (int(fields[1]), sum(map(int, fields[11:15])))
    return found


def family(pid, processes=None):
    """A process and all its live descendants."""
    processes = processes or _processes()
    members, grown = {pid}, True
    while grown:
        more = {p for p, (parent, _) in processes.items() if parent in members} - members
        grown = bool(more)
        members |= more
    return members


def cpu_seconds(pid):
    """User + system seconds of a process, its waited-for children and its live descendants."""
    processes = _processes()
    return sum(processes.get(member, (0, 0))[1] for member in family(pid, processes)) / TICK


def resident_bytes(pid):
    total = 0
    for member in family(pid):
        try:
            total += int(pathlib.Path(f"/proc/{member}/statm").read_text().split()[1]) * PAGE
        except OSError:
            pass
    return total


def written_bytes(pid):
    """Bytes of pages that a process and its live descendants have made dirty: whether it writes; None where that is hidden."""
    total = 0
    for member in family(pid):
        try:
            text = pathlib.Path(f"/proc/{member}/io").read_text()
        except FileNotFoundError:
            continue
        except OSError:
            return None
        total += int(text.split("\nwrite_bytes: ")[1].split()[0])
    return total


def device_bytes(folder):
    """Bytes that the device under a folder has written so far, whoever wrote them; None where it is no block device.
    (What /proc says of a process counts a large page whole when a part of it is written.)"""
    device = os.stat(folder).st_dev
    try:
        stat = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text()
    except OSError:
        return None
    return int(stat.split()[6]) * 512


def _machine_ticks():
    """What all processes took (interrupts are nobody's), and what the hypervisor took."""
    fields = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
    return sum(fields[:3]), fields[7]


def spin():
    """Seconds of wall time that a fixed piece of work takes; longer than usual when somebody else has the core."""
    best = []
    for _ in range(3):
        start, total = time.perf_counter(), 0
        for n in range(400_000):
            total += n * n
        best.append(time.perf_counter() - start)
    return statistics.median(best)


class Watch:
    """Looks at the whole machine during a span: how much CPU went to processes that are not of this comparison."""

    FOREIGN_MAX = 0.10
    SPIN_MAX = 1.20
    KERNEL = 2  # the parent of the kernel's threads: journal and write-back work on our behalf
    best_spin = None

    def __init__(self, pids):
        self.pids = [os.getpid(), self.KERNEL, *pids]
        self.spin_before = spin()
        self.start = time.time()
        self.busy, self.steal = _machine_ticks()
        self.own = self._own()

    def _own(self):
        processes = _processes()
        members = set().union(*(family(pid, processes) for pid in self.pids))
        return sum(processes.get(member, (0, 0))[1] for member in members)

    def stop(self):
        """Ends the span. Reaped children are in the accounts of their parents."""
        elapsed = max(time.time() - self.start, 0.01) * TICK * os.cpu_count()
        busy, steal = _machine_ticks()
        foreign = max(0.0, (busy - self.busy) - (self._own() - self.own)) / elapsed
        stolen = (steal - self.steal) / elapsed
        worst = max(self.spin_before, spin())
        Watch.best_spin = min(filter(None, (Watch.best_spin, self.spin_before, worst)))
        return {"foreign": foreign, "stolen": stolen, "spin": worst}

    @classmethod
    def is_noisy(cls, seen):
        """Whether figures of that span are to be believed."""
        return (seen["foreign"] > cls.FOREIGN_MAX or seen["stolen"] > 0.05
                or seen["spin"] > cls.SPIN_MAX * (cls.best_spin or seen["spin"]))


def flush_seconds(folder, count=100):
    """Median and 99th percentile of one fdatasync after a write of 4 KiB into a file that is full of zeros already."""
    path = pathlib.Path(folder) / "flush"
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(4096 * count))
        os.fsync(file.fileno())
        times = []
        for n in range(count):
            os.pwrite(file.fileno(), b"x" * 4096, n * 4096)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    path.unlink()
    times.sort()
    return statistics.median(times), times[int(count * 0.99)]


def _first(path, key):
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def described(folder):
    """The machine in a few words each."""
    try:
        kind = subprocess.run(["findmnt", "-no", "FSTYPE", "-T", folder], capture_output=True, text=True).stdout.strip()
    except OSError:
        kind = "unknown"
    middle, high = flush_seconds(folder)
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    return {
        "processor": _first("/proc/cpuinfo", "model name"),
        "cores": CPUS,
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "filesystem": kind,
        "flush_ms": middle * 1000,
        "flush_p99_ms": high * 1000,
        "load": os.getloadavg()[0],
    }
