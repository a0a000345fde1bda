//! Delivery into a Maildir: `tmp`, synced, then `new`, and the directory synced: after that it is delivered.
//!
//! The name of a message is made of its id and recipient, so that delivering it once more (after a
//! crash between the rename and our record of it) replaces the file instead of adding another. Nothing
//! of a path is taken from outside as it is: every octet that is not plainly harmless is encoded.
//!
//! The file is the message as it came, CRLF line ends included, below Return-Path and Delivered-To
//! (RFC 5321 §4.4). Everything here blocks and runs on the control plane's threads for such.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::local::Account;
use super::settings::LocalRoute;
use crate::base::{MessageId, RecipientIndex, WallTime};
use crate::mail::{ForwardPath, ReversePath};

/// Octets of one name below the root: NAME_MAX of every file system is at least this.
const NAME_BYTES_MAX: usize = 255;

/// Where one recipient's copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    maildir: PathBuf,
    file: String,
    /// Return-Path and Delivered-To.
    top: Vec<u8>,
}

/// A local-part or domain cannot be the name of a directory: too long once encoded, or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mailbox has no usable name")]
pub struct BadName;

impl Target {
    /// The place of a copy. `hostname` is ours.
    pub(super) fn new(
        route: &LocalRoute,
        account: &Account,
        addresses: (&ForwardPath, &ReversePath),
        id: (MessageId, RecipientIndex),
        accepted_at: WallTime,
        hostname: &str,
    ) -> Result<Target, BadName> {
        let host = safe_name(hostname)?;
        let user = safe_name(&account.user)?;
        let domain = if account.domain.is_empty() { host.clone() } else { safe_name(&account.domain)? };
        let (message, RecipientIndex(index)) = id;
        let file = format!("{}.I{message}R{index}.{host}", accepted_at.unix_seconds());
        if file.len() > NAME_BYTES_MAX {
            return Err(BadName);
        }
        Ok(Target { maildir: route.path.join(domain).join(user), file, top: top(addresses.0, addresses.1) })
    }

    #[cfg(test)]
    fn maildir(&self) -> &Path {
        &self.maildir
    }
}

fn top(recipient: &ForwardPath, reverse_path: &ReversePath) -> Vec<u8> {
    let mut top = Vec::with_capacity(64 + recipient.as_str().len() + reverse_path.as_str().len());
    for (name, open, value, close) in
        [("Return-Path: ", "<", reverse_path.as_str(), ">"), ("Delivered-To: ", "", recipient.as_str(), "")]
    {
        top.extend_from_slice(name.as_bytes());
        top.extend_from_slice(open.as_bytes());
        top.extend(value.bytes().filter(|b| !b.is_ascii_control()));
        top.extend_from_slice(close.as_bytes());
        top.extend_from_slice(b"\r\n");
    }
    top
}

/// A text as one name of a path: letters, digits and `_-+=@.` stay, all else becomes `%XX`, a dot in front too.
fn safe_name(text: &str) -> Result<String, BadName> {
    let mut name = String::with_capacity(text.len());
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'.' if i == 0 => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'+' | b'=' | b'@' | b'.' => {
                name.push(char::from(b))
            }
            b => name.push_str(&format!("%{b:02X}")),
        }
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX { Err(BadName) } else { Ok(name) }
}

/// A copy that is being written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    file: File,
    unfinished: Unfinished,
    target: Target,
}

#[derive(Debug)]
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path); // what stays behind in tmp is harmless
        }
    }
}

impl Writer {
    /// Makes the Maildir if need be, and the file in `tmp` with its first fields.
    pub fn create_blocking(target: Target) -> io::Result<Writer> {
        let path = target.maildir.join("tmp").join(&target.file);
        let mut open = OpenOptions::new();
        open.write(true).create_new(true).mode(0o600); // O_EXCL follows no link
        let file = match open.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_maildir(&target.maildir)?;
                open.open(&path)?
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?; // from an attempt that a crash ended: one recipient has one attempt at a time
                open.open(&path)?
            }
            other => other?,
        };
        let mut writer = Writer { file, unfinished: Unfinished(Some(path)), target };
        writer.file.write_all(&writer.target.top)?;
        Ok(writer)
    }

    /// Adds pieces of the content.
    pub fn append_blocking(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        pieces.iter().try_for_each(|piece| self.file.write_all(piece))
    }

    /// Syncs, moves it to `new`, and syncs that. After `Ok` it survives a power cut.
    pub fn finish_blocking(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let new = self.target.maildir.join("new");
        if let Some(path) = &self.unfinished.0 {
            fs::rename(path, new.join(&self.target.file))?;
        }
        self.unfinished.0 = None;
        sync_directory(&new)
    }
}

/// Makes the directories that are missing, each synced into its parent: a synced file in a
/// directory that nobody can find again would be lost.
fn make_maildir(maildir: &Path) -> io::Result<()> {
    for name in ["tmp", "new", "cur"] {
        make_directory(&maildir.join(name))?;
    }
    Ok(())
}

fn make_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    sync_directory(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::StreamId;
    use crate::lookup::Lookups;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    const ID: (MessageId, RecipientIndex) =
        (MessageId { stream: StreamId(1), start: 2, sequence: 3 }, RecipientIndex(4));

    fn target(root: &Path, recipient: &str) -> Target {
        let route = LocalRoute { path: root.to_owned(), ..LocalRoute::default() };
        let recipient = ForwardPath::parse(recipient, true).expect("an address");
        let sender = ReversePath::parse("<s@x.test>", false).expect("an address");
        let accounts = super::super::local::accounts(&Lookups::default(), &route, &recipient).expect("accounts");
        let accepted_at = WallTime(1_795_386_600_123);
        Target::new(&route, &accounts[0], (&recipient, &sender), ID, accepted_at, "us.test").expect("a target")
    }

    fn deliver(target: Target, content: &[&'static str]) -> io::Result<()> {
        let mut writer = Writer::create_blocking(target)?;
        let pieces: Vec<Bytes> = content.iter().map(|c| Bytes::from_static(c.as_bytes())).collect();
        writer.append_blocking(&pieces)?;
        writer.finish_blocking()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("a name")).collect()
    }

    #[test]
    fn a_message_lands_in_new_with_its_top_fields() {
        let root = tempfile::tempdir().expect("a directory");
        let target = target(root.path(), "<Bob+news@Example.TEST>");
        let maildir = target.maildir().to_owned();
        assert_eq!(maildir, root.path().join("example.test/bob"));
        deliver(target, &["Subject: x\r\n", "\r\n", "body\r\n"]).expect("delivered");
        assert!(names(&maildir.join("tmp")).is_empty());
        let name = "1795386600.I01-0002-00000003R4.us.test";
        assert_eq!(names(&maildir.join("new")), [name]);
        let text = fs::read_to_string(maildir.join("new").join(name)).expect("a message");
        assert_eq!(
            text,
            "Return-Path: <s@x.test>\r\nDelivered-To: Bob+news@Example.TEST\r\nSubject: x\r\n\r\nbody\r\n"
        );
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&maildir.join("new").join(name)), 0o600);
        assert_eq!(mode(&maildir), 0o700);
        assert_eq!(mode(&maildir.join("cur")), 0o700);
    }

    #[test]
    fn once_more_is_still_one_message() {
        let root = tempfile::tempdir().expect("a directory");
        let target = target(root.path(), "<bob@example.test>");
        // As a crash in the middle leaves it.
        std::mem::forget(Writer::create_blocking(target.clone()).expect("created"));
        deliver(target.clone(), &["one\r\n"]).expect("delivered");
        deliver(target.clone(), &["one\r\n"]).expect("delivered");
        assert_eq!(names(&target.maildir().join("new")).len(), 1);
        assert!(names(&target.maildir().join("tmp")).is_empty());
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let root = tempfile::tempdir().expect("a directory");
        let target = target(root.path(), "<bob@example.test>");
        let mut writer = Writer::create_blocking(target.clone()).expect("created");
        writer.append_blocking(&[Bytes::from_static(b"half")]).expect("written");
        drop(writer);
        assert!(names(&target.maildir().join("new")).is_empty());
        assert!(names(&target.maildir().join("tmp")).is_empty());
    }

    #[test]
    fn no_path_is_built_from_a_hostile_name() {
        let root = Path::new("/m");
        for (recipient, expected) in [
            ("<\"../../etc/passwd\"@d.test>", "/m/d.test/%2E.%2F..%2Fetc%2Fpasswd"),
            ("<\"..\"@d.test>", "/m/d.test/%2E."),
            ("<\"a/b\"@d.test>", "/m/d.test/a%2Fb"),
            ("<\".ssh\"@d.test>", "/m/d.test/%2Essh"),
            ("<j\u{f6}rg@d.test>", "/m/d.test/j%C3%B6rg"),
            ("<a%b@d.test>", "/m/d.test/a%25b"),
            ("<bob@[192.0.2.1]>", "/m/%5B192.0.2.1%5D/bob"),
            ("<postmaster>", "/m/us.test/postmaster"),
        ] {
            assert_eq!(target(root, recipient).maildir(), Path::new(expected), "{recipient}");
        }
        assert_eq!(safe_name(""), Err(BadName));
        assert_eq!(safe_name(&"/".repeat(90)), Err(BadName));
    }

    proptest! {
        #[test]
        fn names_stay_below_their_root_and_differ(a in "\\PC{1,60}", b in "\\PC{1,60}") {
            let (x, y) = (safe_name(&a), safe_name(&b));
            if let (Ok(x), Ok(y)) = (&x, &y) {
                prop_assert!(!x.contains('/') && !x.starts_with('.') && !x.contains('\0'));
                prop_assert_eq!(a == b, x == y);
            }
        }
    }
}
