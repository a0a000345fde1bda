//! A connection with its client machine: the bytes between the two.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use posthaste_rt::net::{Connection, Stream};
use smallvec::SmallVec;

use super::content::Content;
use super::pool::Key;
use crate::base::Monotonic;
use crate::smtp::client::{Client, ContentForm, Lost, Results, Step, Timeouts, Transaction, Wait};
use crate::smtp::stuff::{Stuffer, end_of_data};

/// Content written by one call: pieces are gathered up to this.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Pieces written by one call, commands and end of data aside.
const WRITE_PIECES_MAX: usize = 64;
/// Inside TLS, small pieces are joined up to this, so that they share records.
const JOIN_BYTES_MAX: usize = 64 * 1024;
/// Octets taken by one read of replies.
const READ_BYTES: usize = 2048;
/// After a failed write, how long the peer's last words are waited for.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long taking leave may take, and how many octets of the peer's farewell are read.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
const FAREWELL_BYTES_MAX: usize = 1024;

/// Room that an idle connection keeps for commands.
const OUT_BYTES_KEPT: usize = 512;

thread_local! {
    /// The shard's one buffer for replies: it is used between two awaits, never across one.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The buffer for replies on loan.
#[derive(Debug)]
struct Room(Vec<u8>);

impl Room {
    fn take() -> Room {
        let mut room = ROOM.take();
        room.resize(READ_BYTES, 0);
        Room(room)
    }
}

impl AsMut<[u8]> for Room {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        ROOM.set(std::mem::take(&mut self.0));
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    client: Client,
    /// Room for what is to be said, kept from one transaction to the next.
    out: Vec<u8>,
    pub(super) key: Key,
    pub(super) opened: Monotonic,
}

/// What a turn of the machine needs that only `connect` can give.
pub(super) enum Pause {
    /// The step that ends a dialogue.
    Over(Step),
    /// The machine wants TLS.
    Handshake,
}

impl Link {
    /// On the heap: it moves between attempts and the pool.
    pub(super) fn new(connection: Connection, client: Client, key: Key, opened: Monotonic) -> Box<Link> {
        Box::new(Link { connection, client, out: Vec::new(), key, opened })
    }

    /// Runs the dialogue that makes the connection ready, from `step` on.
    pub(super) async fn greet(&mut self, mut step: Step, out: &mut Vec<u8>, timeouts: &Timeouts) -> Pause {
        loop {
            step = match step {
                Step::Read(wait) => self.exchange(wait, out, timeouts).await,
                Step::Handshake => return Pause::Handshake,
                over => return Pause::Over(over),
            };
        }
    }

    /// For the handshake: the bare stream and the rest.
    pub(super) fn into_parts(self: Box<Self>) -> (Option<Stream>, Client, Key, Monotonic) {
        (self.connection.into_plain(), self.client, self.key, self.opened)
    }

    /// The machine.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// It may take another transaction.
    pub(super) fn is_ready(&self) -> bool {
        self.client.is_ready()
    }

    /// Transactions begun on it.
    pub(super) fn transactions(&self) -> u32 {
        self.client.transactions()
    }

    /// The peer closed it, or said something, while it was idle.
    pub(super) async fn is_stale(&mut self) -> bool {
        self.connection.is_stale().await
    }

    /// One transaction, to its end.
    pub(super) async fn transact<C: Content>(
        &mut self,
        transaction: &Transaction<'_>,
        content: &mut C,
        timeouts: &Timeouts,
    ) -> Results {
        let mut out = std::mem::take(&mut self.out);
        let ends_with_crlf = transaction.content.ends_with_crlf;
        let mut step = self.client.begin(transaction, &mut out);
        loop {
            step = match step {
                Step::Read(wait) => self.exchange(wait, &mut out, timeouts).await,
                Step::Content(form) => self.send_content(form, content, ends_with_crlf, &mut out, timeouts).await,
                Step::Finished(results) => {
                    // What is left to say (a dot for nobody) matters only to a connection that lives on.
                    out.clear();
                    out.shrink_to(OUT_BYTES_KEPT);
                    self.out = out;
                    return results;
                }
                // The machine says these only outside of a transaction; whoever is open stays open.
                Step::Ready | Step::Handshake | Step::Refused(_) | Step::Closed => return Results::default(),
            };
        }
    }

    /// Writes what is to be said and reads the answer.
    async fn exchange(&mut self, wait: Wait, out: &mut Vec<u8>, timeouts: &Timeouts) -> Step {
        let timeout = wait.timeout(timeouts);
        if !out.is_empty() {
            self.connection.set_write_timeout(Some(timeout));
            let written = self.connection.write_all(out).await;
            out.clear();
            if let Err(error) = written {
                return self.last_words(&error, out).await;
            }
        }
        self.hear(timeout, out).await
    }

    async fn hear(&mut self, timeout: Duration, out: &mut Vec<u8>) -> Step {
        self.connection.set_read_timeout(Some(timeout));
        match self.connection.read_with(Room::take).await {
            Ok((_, 0)) => self.client.lost(Lost::Closed),
            Ok((room, count)) => self.client.received(room.0.get(..count).unwrap_or_default(), out),
            Err(error) => self.client.lost(lost(&error)),
        }
    }

    /// A write failed: the peer may have said why before it closed (a 421, a 552 amid the content).
    async fn last_words(&mut self, error: &io::Error, out: &mut Vec<u8>) -> Step {
        if error.kind() == io::ErrorKind::TimedOut {
            return self.client.lost(Lost::TimedOut);
        }
        match self.hear(LAST_WORDS_TIMEOUT, out).await {
            Step::Read(_) | Step::Content(_) => self.client.lost(Lost::Broken), // it cannot go on
            over => over,
        }
    }

    /// Sends the content behind what is already to be said, in as few writes as its pieces allow.
    async fn send_content<C: Content>(
        &mut self,
        form: ContentForm,
        content: &mut C,
        ends_with_crlf: bool,
        out: &mut Vec<u8>,
        timeouts: &Timeouts,
    ) -> Step {
        self.connection.set_write_timeout(Some(Wait::Content.timeout(timeouts)));
        let mut stuffer = (form == ContentForm::Stuffed).then(Stuffer::new);
        let mut sent = 0u64;
        loop {
            let batch = match gather(content).await {
                Ok(batch) => batch,
                Err(_) => return self.client.lost(Lost::Content),
            };
            sent += batch.bytes as u64;
            if batch.is_last && sent != content.size_bytes() {
                return self.client.lost(Lost::Content); // not what was announced: nothing may follow
            }
            let end: &[u8] = match (&stuffer, form) {
                (None, ContentForm::Plain) if batch.is_last => end_of_data(ends_with_crlf),
                _ => b"",
            };
            let written = self.write(out, &batch, stuffer.as_mut(), end).await;
            out.clear();
            if let Err(error) = written {
                return self.last_words(&error, out).await;
            }
            if batch.is_last {
                return self.client.content_sent();
            }
            posthaste_rt::task::yield_if_needed().await;
        }
    }

    async fn write(
        &mut self,
        out: &mut Vec<u8>,
        batch: &Batch,
        stuffer: Option<&mut Stuffer>,
        end: &[u8],
    ) -> io::Result<()> {
        let joins = stuffer.is_some() || (self.connection.is_tls() && batch.bytes <= JOIN_BYTES_MAX);
        if !joins {
            let mut slices: SmallVec<[IoSlice<'_>; 8]> = SmallVec::new();
            let pieces = batch.pieces.iter().map(|piece| &piece[..]);
            let all = std::iter::once(&out[..]).chain(pieces).chain(std::iter::once(end));
            slices.extend(all.filter(|slice| !slice.is_empty()).map(IoSlice::new));
            return self.connection.write_all_vectored(&mut slices).await;
        }
        match stuffer {
            None => batch.pieces.iter().for_each(|piece| out.extend_from_slice(piece)),
            Some(stuffer) => {
                batch.pieces.iter().for_each(|piece| stuffer.push(piece, |slice| out.extend_from_slice(slice)));
                if batch.is_last {
                    out.extend_from_slice(stuffer.end());
                }
            }
        }
        out.extend_from_slice(end);
        self.connection.write_all(out).await
    }

    /// Takes leave, waits a little for the farewell, and closes.
    pub(super) async fn quit(mut self: Box<Self>) {
        let mut out = Vec::new();
        if self.client.is_idle() {
            let _ = self.client.quit(&mut out);
            self.connection.set_write_timeout(Some(FAREWELL_TIMEOUT));
            if self.connection.write_all(&out).await.is_err() {
                return;
            }
        }
        self.connection.close(FAREWELL_TIMEOUT, FAREWELL_BYTES_MAX).await;
    }
}

/// Pieces for one write.
struct Batch {
    pieces: SmallVec<[Bytes; 8]>,
    bytes: usize,
    is_last: bool,
}

async fn gather<C: Content>(content: &mut C) -> Result<Batch, super::content::ContentError> {
    let mut batch = Batch { pieces: SmallVec::new(), bytes: 0, is_last: false };
    while batch.bytes < WRITE_BYTES_MAX && batch.pieces.len() < WRITE_PIECES_MAX {
        match content.next().await? {
            Some(piece) => {
                batch.bytes += piece.len();
                batch.pieces.push(piece);
            }
            None => {
                batch.is_last = true;
                break;
            }
        }
    }
    Ok(batch)
}

fn lost(error: &io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::TimedOut => Lost::TimedOut,
        io::ErrorKind::UnexpectedEof => Lost::Closed,
        _ => Lost::Broken,
    }
}
