//! A process with all its children: what they used together, however they come and go.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::find;
use super::proc::{Stat, TICKS_PER_S, number_of};

/// Counters of a family since the first look, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Look {
    /// CPU seconds in user space.
    pub user_s: f64,
    /// CPU seconds in the kernel.
    pub system_s: f64,
    /// Bytes written to storage; `None` where the kernel does not let us see it.
    pub written_bytes: Option<u64>,
    /// Bytes read from storage.
    pub read_bytes: Option<u64>,
    /// Voluntary context switches.
    pub voluntary: u64,
    /// Involuntary context switches.
    pub involuntary: u64,
    /// Resident bytes now; pages that processes share are counted for each.
    pub resident_bytes: u64,
    /// Processes now.
    pub processes: u64,
    /// Threads now.
    pub threads: u64,
}

/// What the kernel keeps for a process with its ended children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    user: u64,
    system: u64,
    written: u64,
    read: u64,
}

impl Used {
    fn add(&mut self, other: Used) {
        self.user += other.user;
        self.system += other.system;
        self.written += other.written;
        self.read += other.read;
    }

    /// Never backwards: what the kernel adds to a parent may be a moment late.
    fn max(self, other: Used) -> Used {
        Used {
            user: self.user.max(other.user),
            system: self.system.max(other.system),
            written: self.written.max(other.written),
            read: self.read.max(other.read),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Member {
    started: u64,
    parent: u32,
    used: Used,
}

/// Follows a process and its children.
#[derive(Debug)]
pub struct Family {
    root: u32,
    root_started: u64,
    members: HashMap<u32, Member>,
    /// Of members that ended and that no member waited for.
    gone: Used,
    before: Used,
    base: Option<Used>,
    /// Voluntary and involuntary switches of each thread when last seen.
    threads: HashMap<(u32, u32), (u64, u64)>,
    switches: (u64, u64),
}

impl Family {
    /// Of the process `root`; `None` when there is none.
    pub fn of(root: u32) -> Option<Self> {
        Some(Family {
            root,
            root_started: find::stat(root)?.started,
            members: HashMap::new(),
            gone: Used::default(),
            before: Used::default(),
            base: None,
            threads: HashMap::new(),
            switches: (0, 0),
        })
    }

    /// Looks at them; `None` when all have ended.
    pub fn look(&mut self) -> Option<Look> {
        let all: HashMap<u32, Stat> =
            find::pids().into_iter().filter_map(|pid| Some((pid, find::stat(pid)?))).collect();
        let members = self.members_of(&all);
        if members.is_empty() {
            return None;
        }
        let mut look = Look { processes: members.len() as u64, ..Look::default() };
        let mut now = HashMap::new();
        let mut may_see_io = true;
        for pid in members {
            let Some(stat) = all.get(&pid) else { continue };
            let io = io_of(pid);
            may_see_io &= io.is_some();
            let (written, read) = io.unwrap_or_default();
            let used = Used { user: stat.own.0 + stat.children.0, system: stat.own.1 + stat.children.1, written, read };
            now.insert(pid, Member { started: stat.started, parent: stat.parent, used });
            look.threads += stat.threads;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            look.resident_bytes += number_of(&status, "VmRSS").unwrap_or(0) * 1024;
        }
        self.note_switches(now.keys().copied());
        let used = self.note(now);
        look.user_s = used.user as f64 / TICKS_PER_S;
        look.system_s = used.system as f64 / TICKS_PER_S;
        look.written_bytes = may_see_io.then_some(used.written);
        look.read_bytes = may_see_io.then_some(used.read);
        (look.voluntary, look.involuntary) = self.switches;
        Some(look)
    }

    /// The root, everyone known who still lives, and all their children.
    fn members_of(&self, all: &HashMap<u32, Stat>) -> HashSet<u32> {
        let is_same = |pid: &u32, started: u64| all.get(pid).is_some_and(|stat| stat.started == started);
        let known = self.members.iter().filter(|(pid, member)| is_same(pid, member.started)).map(|(pid, _)| *pid);
        let mut members: HashSet<u32> = known.collect();
        if is_same(&self.root, self.root_started) {
            members.insert(self.root);
        }
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        all.iter().for_each(|(pid, stat)| children.entry(stat.parent).or_default().push(*pid));
        let mut unseen: Vec<u32> = members.iter().copied().collect();
        while let Some(pid) = unseen.pop() {
            let new = children.get(&pid).into_iter().flatten().filter(|child| members.insert(**child));
            unseen.extend(new.collect::<Vec<_>>());
        }
        members
    }

    /// Adds up; gives what was used since the first look.
    fn note(&mut self, now: HashMap<u32, Member>) -> Used {
        for (pid, member) in &self.members {
            let has_ended = now.get(pid).is_none_or(|same| same.started != member.started);
            // Whoever waits for a child has its counters in its own from then on.
            if has_ended && !now.contains_key(&member.parent) {
                self.gone.add(member.used);
            }
        }
        self.members = now;
        let mut sum = self.gone;
        self.members.values().for_each(|member| sum.add(member.used));
        self.before = self.before.max(sum);
        let base = *self.base.get_or_insert(sum);
        let now = self.before;
        Used {
            user: now.user - base.user,
            system: now.system - base.system,
            written: now.written - base.written,
            read: now.read - base.read,
        }
    }

    /// The kernel shows switches by thread only: what each did since it was last seen is added.
    fn note_switches(&mut self, pids: impl Iterator<Item = u32>) {
        let is_first = self.base.is_none();
        let mut now = HashMap::new();
        for pid in pids {
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for task in tasks.flatten() {
                let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
                let voluntary = number_of(&status, "voluntary_ctxt_switches").unwrap_or(0);
                let involuntary = number_of(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
                let before = self.threads.get(&(pid, tid)).copied().unwrap_or_default();
                if !is_first {
                    self.switches.0 += voluntary.saturating_sub(before.0);
                    self.switches.1 += involuntary.saturating_sub(before.1);
                }
                now.insert((pid, tid), (voluntary, involuntary));
            }
        }
        self.threads = now;
    }
}

/// Bytes written to and read from storage, ended children included; only for processes that are ours.
fn io_of(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let cancelled = number_of(&text, "cancelled_write_bytes").unwrap_or(0);
    Some((number_of(&text, "write_bytes")?.saturating_sub(cancelled), number_of(&text, "read_bytes")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    fn member(started: u64, parent: u32, user: u64) -> Member {
        Member { started, parent, used: Used { user, ..Used::default() } }
    }

    #[test]
    fn what_ended_children_used_is_counted_once() {
        let mut family = Family::of(std::process::id()).expect("we are there");
        let mut note = |members: &[(u32, Member)]| family.note(members.iter().copied().collect()).user;
        assert_eq!(note(&[(1, member(1, 0, 100)), (2, member(2, 1, 50))]), 0);
        assert_eq!(note(&[(1, member(1, 0, 110)), (2, member(2, 1, 70))]), 30);
        // 2 ended, and 1 waited for it: its 75 are in 1's 185.
        assert_eq!(note(&[(1, member(1, 0, 185)), (3, member(3, 1, 5))]), 40);
        // 3 was left behind by 1, which ended; 3 goes on, and what 1 used stays.
        assert_eq!(note(&[(3, member(3, 0, 6))]), 41);
        // The number 3 is given to another process: not the same one.
        assert_eq!(note(&[(4, member(4, 0, 1))]), 42);
    }

    #[test]
    fn a_child_that_burns_and_writes_is_seen_from_its_parent() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        let script = format!(
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; head -c 1000000 /dev/zero > {0}; sync {0}; cat",
            file.display()
        );
        // The watched shell waits for the one that works: the work is a child's.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sh -c \"$1\"; true", "sh", &script]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = shell.spawn().expect("starts");
        let mut family = Family::of(child.id()).expect("it runs");
        let first = family.look().expect("it runs");
        assert_eq!((first.user_s, first.voluntary), (0.0, 0));
        let started = Instant::now();
        let mut last = first;
        while started.elapsed() < Duration::from_secs(60) && (last.user_s + last.system_s <= 0.0 || last.voluntary == 0)
        {
            std::thread::sleep(Duration::from_millis(20));
            last = family.look().expect("it waits for its input");
        }
        assert!(last.user_s + last.system_s > 0.0 && last.voluntary > 0, "{last:?}");
        assert!(last.processes >= 2 && last.threads >= 2 && last.resident_bytes > 100_000, "{last:?}");
        drop(child.stdin.take());
        child.wait().expect("ends");
        assert_eq!(family.look(), None, "all have ended");
    }
}
