"""From figures to RESULTS.md and a page with bars; and which goals of the project they meet."""
import html, statistics, time


def number(value, unit=""):
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
    return text + unit


def middle(runs, key):
    found = [run[key] for run in runs if run.get(key) is not None]
    return statistics.median(found) if found else None


def spread(runs, key):
    found = [run[key] for run in runs if run.get(key) is not None]
    if not found:
        return ""
    shown = number(statistics.median(found))
    return shown if len(found) == 1 else f"{shown} ({number(min(found))} to {number(max(found))})"


NAMES = {"accept": "accept", "conn": "accept, one message per connection", "relay": "relay"}


def label(kind, size):
    return f"{NAMES[kind]}, {size // 1024} KB"


def of(results, kind, size, program):
    return results["traffic"].get(f"{kind}/{size}", {}).get(program, [])


def bars(results):
    """(what, goal in words, measured in words, whether it is met or None)."""
    rows = []

    def ratio(kind, size, goal):
        ours, theirs = (middle(of(results, kind, size, p), "cpu_ms") for p in ("posthaste", "postfix"))
        if ours and theirs:
            rows.append((f"CPU per message, {label(kind, size)}, against Postfix", f"at most 1/{goal}",
                         f"1/{theirs / ours:.1f}", theirs / ours >= goal))

    for kind, size, goal in (("accept", 1, 30), ("conn", 1, 12), ("relay", 1, 25), ("relay", 10, 20), ("relay", 100, 8)):
        ratio(kind, size * 1024, goal)
    for kind in ("accept", "relay"):
        ours, theirs = (middle(of(results, kind, 1024, p), "rate") for p in ("posthaste", "postfix"))
        if ours and theirs:
            rows.append((f"messages per second, {label(kind, 1024)}, against Postfix", "at least 12 times",
                         f"{ours / theirs:.1f} times", ours / theirs >= 12))
    for kind in ("accept", "relay"):
        ours, floor = (middle(of(results, kind, 1024, p), "cpu_ms") for p in ("posthaste", "floor"))
        if ours and floor:
            rows.append((f"CPU per message, {label(kind, 1024)}, against the floor", "at most 1.6 times",
                         f"{ours / floor:.2f} times", ours / floor <= 1.6))

    def most(what, goal, value, unit=""):
        if value is not None:
            rows.append((what, f"at most {goal}{unit}", number(value, unit), value <= goal))

    most("syncs per accepted message, 50 sessions", 0.1, middle(of(results, "accept", 1024, "posthaste"), "syncs"))
    most("bytes written to the spool per byte accepted, 10 KB mail that leaves at once", 1.1,
         middle(of(results, "relay", 10 * 1024, "posthaste"), "spool_ratio"))
    runs = results.get("latency", {}).get("posthaste", [])
    if runs:
        goal = 2 * results["machine"]["flush_ms"] + 2
        most("accept latency, open loop at 70 % of the highest rate: p99", round(goal, 2), middle(runs, "p99_ms"), " ms")
    for row in results.get("idle", []):
        if "bytes" in row:
            most(f"idle session, {row['sessions']:,} of them: resident", 3072, row["bytes"], " B")
    for row in results.get("queued", []):
        most(f"queued message, {row['queued']:,} of them, after a restart: resident", 200, row["bytes_restarted"], " B")
        most(f"restart with {row['queued']:,} queued: all scheduled", 5, row["scheduled_s"], " s")
    return rows


def noise_words(results):
    noisy = [place for place, is_noisy in results["noise"] if is_noisy]
    if not results["noise"]:
        return "Memory and restarts only: nothing that another process disturbs much."
    if not noisy:
        return "The machine was quiet: less than a tenth of it went to other processes in any run."
    if len(noisy) * 4 < len(results["noise"]):
        return f"Other work disturbed {len(noisy)} of {len(results['noise'])} runs: {', '.join(noisy[:8])}. The medians stand."
    return (f"**The machine was too noisy to trust these figures**: in {len(noisy)} of {len(results['noise'])} runs other "
            "processes had more than a tenth of it, or the same work took a fifth longer than at best. Ratios inside a "
            "round suffer least.")


def markdown(results):
    m, out = results["machine"], []
    out += ["# Results", "", "Written by `benches/compare/run`; the command of this run:", "", "```sh", results["command"], "```", ""]
    out += [f"{results['date']}, commit {results['commit']}. {m['processor']}, {m['cores']} cores, {m['memory']}, Linux "
            f"{m['kernel']}, {m['filesystem']}; one flush of 4 KiB takes {m['flush_ms']:.2f} ms (median; p99 "
            f"{m['flush_p99_ms']:.2f}). Generator ({results['generator']}) and sink run on the same cores, closed loop, "
            f"{results['sessions']} sessions, {results['messages']:,} messages of 1 KB a run (fewer of larger ones, and of slower programs), "
            f"{results['rounds']} rounds, the programs by turns. "
            "Medians, and in brackets the lowest and the highest.", "", noise_words(results), ""]
    found = bars(results)
    if found:
        out += ["## The goals", "", "| what | goal | measured | |", "|---|---|---|---|"]
        out += [f"| {what} | {goal} | {measured} | {'met' if met else '**missed**'} |" for what, goal, measured, met in found]
        out += [""]
    if results["traffic"]:
        out += ["## Per message", "", "CPU is user and system time of all processes of the program. Written is what the "
                "device wrote meanwhile, the filesystem's journal and others' work included.", "",
                "| what | program | CPU ms | messages per second | syncs | KB written |", "|---|---|---|---|---|---|"]
        for key, programs in results["traffic"].items():
            kind, size = key.split("/")
            for program, runs in programs.items():
                written = middle(runs, "written")
                out.append(f"| {label(kind, int(size))} | {results['versions'][program]} | {spread(runs, 'cpu_ms')} | "
                           f"{spread(runs, 'rate')} | {number(middle(runs, 'syncs'))} | "
                           f"{number(written / 1024) if written is not None else ''} |")
        out += [""]
    if results.get("latency"):
        out += ["## Latency of accepting", "", "1 KB, open loop (Poisson) at 70 % of the highest rate whose p99 stays under "
                "50 ms, from the intended send time to the last reply; milliseconds.", "",
                "| program | highest rate | rate | median | p99 | p99.9 | longest |", "|---|---|---|---|---|---|---|"]
        for program, runs in results["latency"].items():
            cells = [spread(runs, key) for key in ("best_rate", "rate", "p50_ms", "p99_ms", "p999_ms", "max_ms")]
            out.append(f"| {results['versions'][program]} | " + " | ".join(cells) + " |")
        out += [""]
    out += [scale(results)]
    out += ["## The programs", ""]
    out += [f"* {results['versions'][name]}: {promise}." for name, promise in results["durability"].items()]
    out += [f"* Not measured: {reason}." for reason in results["left_out"]]
    return "\n".join(out) + "\n"


def scale(results):
    """What does not compare programs: sessions, queue, shards."""
    out = []
    if results.get("idle"):
        out += ["## Idle sessions", "", "After EHLO, no TLS; beside a hundred others.", "", "| sessions | resident bytes each | CPU, cores |", "|---|---|---|"]
        out += [f"| {row['sessions']:,} | {number(row.get('bytes')) or row['left_out']} | {number(row.get('idle_cpu'))} |"
                for row in results["idle"]] + [""]
    if results.get("queued"):
        out += ["## A long queue", "", "Deferred messages of 1 KB, one recipient; restart with a warm page cache.", "",
                "| queued | accepted per second | resident B each, running | after a restart | accepting after s | all scheduled after s |",
                "|---|---|---|---|---|---|"]
        out += [f"| {r['queued']:,} | {number(r['enqueue_rate'])} | {number(r['bytes_running'])} | {number(r['bytes_restarted'])} | "
                f"{r['accepting_s']:.2f} | {r['scheduled_s']:.2f} |" for r in results["queued"]] + [""]
    if results.get("shards"):
        out += ["## Shards", "", "50 sessions for each shard, more shards than cores share the cores: counts per message are "
                "to stay as they are.", "",
                "| what | shards | instructions | CPU ms | syncs | messages between shards | connections opened | messages per second |",
                "|---|---|---|---|---|---|---|---|"]
        out += [f"| {r['kind']} | {r['shards']} | {number(r['instructions'])} | {number(r['cpu_ms'])} | {number(r['syncs'])} | "
                f"{number(r['crossed'])} | {number(r['connections'])} | {number(r['rate'])} |" for r in results["shards"]] + [""]
    return "\n".join(out)


COLOURS = {"posthaste": "#1f6f5c", "floor": "#9aa5a1", "postfix": "#b5651d", "exim": "#7a5195", "opensmtpd": "#3d6fa8", "haraka": "#a83d5c"}


def chart(title, unit, rows):
    """Horizontal bars of (name, colour, median, least, most)."""
    rows = [row for row in rows if row[2]]
    if not rows:
        return ""
    top, height = max(row[4] for row in rows), 26
    parts = [f'<svg viewBox="0 0 720 {len(rows) * height + 8}" role="img" aria-label="{html.escape(title)}">']
    for at, (name, colour, value, least, most) in enumerate(rows):
        y, scale = at * height + 4, 440 / top
        parts.append(f'<text x="150" y="{y + 15}" text-anchor="end">{html.escape(name)}</text>'
                     f'<rect x="158" y="{y + 3}" width="{max(value * scale, 1):.1f}" height="16" rx="2" fill="{colour}"/>'
                     f'<line x1="{158 + least * scale:.1f}" x2="{158 + most * scale:.1f}" y1="{y + 11}" y2="{y + 11}"/>'
                     f'<text x="{166 + most * scale:.1f}" y="{y + 15}">{number(value)} {unit}</text>')
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{''.join(parts)}</svg></figure>"


def charts(results):
    out = []
    for key, unit, words in (("cpu_ms", "ms", "CPU per message"), ("rate", "/s", "messages per second")):
        for place, programs in results["traffic"].items():
            kind, size = place.split("/")
            rows = []
            for program, runs in programs.items():
                found = [run[key] for run in runs if run.get(key) is not None]
                if found:
                    rows.append((program, COLOURS[program], statistics.median(found), min(found), max(found)))
            out.append(chart(f"{label(kind, int(size))}: {words}", unit, rows))
    if results.get("shards"):
        for kind in dict.fromkeys(row["kind"] for row in results["shards"]):
            rows = [(f"{r['shards']} shards", COLOURS["posthaste"], r["cpu_ms"], r["cpu_ms"], r["cpu_ms"])
                    for r in results["shards"] if r["kind"] == kind]
            out.append(chart(f"{kind}: CPU per message by shards, 50 sessions each", "ms", rows))
    return "".join(out)


STYLE = """:root{color-scheme:light dark;--ink:#1c2321;--back:#fbfbf9;--line:#d9dedb}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebe8;--back:#161a19;--line:#39413e}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto;margin:1rem 0}td,th{border-bottom:1px solid var(--line);padding:.3rem .7rem;text-align:left}
figure{margin:1.5rem 0}figcaption{font-weight:600}svg{width:100%;max-width:45rem}svg text{font-size:13px;fill:var(--ink)}svg line{stroke:var(--ink);stroke-width:1.5}
pre{overflow-x:auto;border:1px solid var(--line);padding:.7rem}.missed{color:#b3261e;font-weight:600}.met{color:#1f7a4d}"""


def inline(text):
    text = html.escape(text)
    for mark, tag in (("**", "strong"), ("`", "code")):
        parts = text.split(mark)
        if len(parts) % 2:
            text = "".join(part if n % 2 == 0 else f"<{tag}>{part}</{tag}>" for n, part in enumerate(parts))
    return text.replace("<strong>missed</strong>", '<span class="missed">missed</span>')


def page(results):
    """The same as a page that needs nothing else: the Markdown, simply rendered, and the charts after the goals."""
    out, table, code, shown = [], False, False, False
    for line in markdown(results).splitlines():
        if table and not line.startswith("|"):
            out.append("</table>")
            table = False
        if line.startswith("```"):
            out.append("</pre>" if code else "<pre>")
            code = not code
        elif code:
            out.append(html.escape(line))
        elif line.startswith("## "):
            if not shown and not line.startswith("## The goals"):
                out.append(charts(results))
                shown = True
            out.append(f"<h2>{inline(line[3:])}</h2>")
        elif line.startswith("# "):
            out.append(f"<h1>{inline(line[2:])}</h1>")
        elif line.startswith("|---"):
            pass
        elif line.startswith("|"):
            tag = "td" if table else "th"
            out.append(("" if table else "<table>") + "<tr>"
                       + "".join(f"<{tag}>{inline(cell.strip())}</{tag}>" for cell in line.strip("|").split("|")) + "</tr>")
            table = True
        elif line.startswith("* "):
            out.append(f"<p>• {inline(line[2:])}</p>")
        elif line:
            out.append(f"<p>{inline(line)}</p>")
    head = f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Posthaste: results</title><style>{STYLE}</style>"
    return head + "\n".join(out) + "\n"


def today():
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
