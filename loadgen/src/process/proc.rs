//! What the kernel writes in /proc and /sys, read as numbers. Pure.

use std::collections::HashSet;

/// Ticks of CPU time per second in /proc (`USER_HZ`, the same on every architecture we run on).
pub const TICKS_PER_S: f64 = 100.0;
/// Bytes of a sector in block statistics, whatever the device's own is.
pub const SECTOR_BYTES: u64 = 512;

/// A process as /proc/PID/stat shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its name, cut by the kernel to 15 bytes.
    pub name: String,
    /// Its parent.
    pub parent: u32,
    /// Its CPU time in user space and in the kernel, ended threads included, ticks.
    pub own: (u64, u64),
    /// The same of its children that ended and were waited for, and of theirs.
    pub children: (u64, u64),
    /// Threads now.
    pub threads: u64,
    /// When it started, in ticks since boot: with the process id it names one process.
    pub started: u64,
}

impl Stat {
    /// From /proc/PID/stat.
    pub fn parse(text: &str) -> Option<Self> {
        // The name may hold anything, closing parentheses too.
        let (head, rest) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc(5) counts from 1, and the state (field 3) comes first here.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            name,
            parent: u32::try_from(field(4)?).ok()?,
            own: (field(14)?, field(15)?),
            // May be negative for a moment on some kernels.
            children: (field(16).unwrap_or(0), field(17).unwrap_or(0)),
            threads: field(20)?,
            started: field(22)?,
        })
    }
}

/// The number after `name` at the begin of a line: `VmRSS: 5120 kB`, `write_bytes: 4096`.
pub fn number_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Inodes of the sockets that listen on `port`, from /proc/net/tcp or tcp6.
pub fn listeners(text: &str, port: u16) -> HashSet<u64> {
    let is_ours = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.rsplit_once(':')).map(|(_, port)| port);
        let state = fields.nth(1);
        state == Some("0A") && local.is_some_and(|local| u16::from_str_radix(local, 16) == Ok(port))
    };
    text.lines().skip(1).filter(is_ours).filter_map(|line| line.split_ascii_whitespace().nth(9)?.parse().ok()).collect()
}

/// The inode in `socket:[12345]`.
pub fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Bytes written and flushes completed, from a block device's `stat`; kernels before 5.5 do not count flushes.
pub fn block_counts(text: &str) -> Option<(u64, Option<u64>)> {
    let fields: Vec<u64> = text.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    Some((fields.get(6)? * SECTOR_BYTES, fields.get(15).copied()))
}

/// Sum of all samples of a metric in the Prometheus text format whose name ends in `name`.
pub fn metric(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| {
        let (sample, value) = line.rsplit_once(char::is_whitespace)?;
        let own = sample.split(['{', ' ']).next()?;
        if line.starts_with('#') || !own.ends_with(name) {
            return None;
        }
        value.parse::<f64>().ok()
    };
    let values: Vec<f64> = text.lines().filter_map(value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let text =
            "812 (a) b(c)) S 7 812 812 0 -1 4194560 9 0 0 0 120 45 6 3 20 0 5 0 98765 1000 200 18446744073709551615";
        let stat = Stat::parse(text).expect("reads");
        assert_eq!((stat.name.as_str(), stat.parent, stat.threads, stat.started), ("a) b(c)", 7, 5, 98_765));
        assert_eq!((stat.own, stat.children), ((120, 45), (6, 3)));
        assert_eq!(Stat::parse("812 (short) S 7"), None);
    }

    #[test]
    fn listeners_are_told_from_connections() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:09C5 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n   \
            1: 0100007F:09C5 0100007F:8F00 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n   \
            2: 0100007F:0A42 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 x\n";
        assert_eq!(listeners(text, 2501), HashSet::from([4711]));
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("/dev/null"), None);
    }

    #[test]
    fn numbers_of_lines_and_devices_are_read() {
        let status = "Name:\tx\nVmRSS:\t    5120 kB\nvoluntary_ctxt_switches:\t44\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(number_of(status, "VmRSS"), Some(5120));
        assert_eq!(number_of(status, "nonvoluntary_ctxt_switches"), Some(2));
        assert_eq!(number_of(status, "VmSwap"), None);
        let with_flushes = "10 5 26 80 22 10 120 93 0 66 153 2 0 10 0 115 514";
        assert_eq!(block_counts(with_flushes), Some((120 * 512, Some(115))));
        assert_eq!(block_counts("10 5 26 80 22 10 120 93 0 66 153"), Some((120 * 512, None)));
    }

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE posthaste_spool_syncs counter\nposthaste_spool_syncs_total{shard=\"0\"} 40\n\
                    posthaste_spool_syncs_total{shard=\"1\"} 2\nposthaste_spool_syncs_totally 9\n";
        assert_eq!(metric(text, "spool_syncs_total"), Some(42));
        assert_eq!(metric(text, "absent_total"), None);
    }
}
