//! The floor of BENCHMARKS: a bare program on the same runtime. It receives the same bytes, answers the same
//! replies, appends them to a file and syncs in groups before the `250`, and does nothing else: no parser, no
//! envelope, no limits, no queue. What Posthaste costs above it is what Posthaste's own work costs.
//!
//! `posthaste-floor ADDRESS FILE [NEXT-HOP]`: with NEXT-HOP each committed message is also sent on, over
//! connections that stay open, with the commands of a relay, and 16 bytes of status are appended for it.
//! It serves until it is killed. It trusts its client: never let it meet one that is not the load generator.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::file::{Access, File};
use posthaste_rt::net::{self, Listener, SocketOptions, Stream};
use posthaste_rt::preflight::Needs;
use posthaste_rt::sync::{self, Bell};
use posthaste_rt::{shard, task};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Each shard's file, filled with zeros once and written again from the start when it is full.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Batches begin here, as Posthaste's do.
const BLOCK: usize = 4096;
/// Received at once.
const BUFFER: usize = 16 * 1024;
/// Bytes of a status.
const STATUS: [u8; 16] = *b"status: done    ";
/// Senders per shard when there is a next hop.
const SENDERS: usize = 25;

/// What gathers while the previous batch is synced.
#[derive(Default)]
struct Gathering {
    bytes: Vec<u8>,
    waiting: Vec<sync::Sender<()>>,
}

/// One shard: its gathering batch, and what is to be sent on.
struct Shard {
    gathering: RefCell<Gathering>,
    bell: Bell,
    outgoing: RefCell<Vec<Vec<u8>>>,
    /// Senders with nothing to send.
    idle: RefCell<Vec<Bell>>,
    relays: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: posthaste-floor ADDRESS FILE [NEXT-HOP]".into());
    };
    let address: SocketAddr = address.parse()?;
    let next_hop: Option<SocketAddr> = arguments.next().map(|text| text.parse()).transpose()?;
    let cpus = shard::cpus();
    posthaste_rt::preflight(Needs { shards: cpus.len(), descriptors: 4096 })?;
    let shards: Vec<_> = (0..cpus.len())
        .map(|n| {
            let path = format!("{path}.{n}");
            shard::spawn(cpus[n], &format!("floor-{n}"), move || serve(address, path, next_hop))
        })
        .collect::<Result<_, _>>()?;
    for shard in shards {
        shard.join()??;
    }
    Ok(())
}

async fn serve(address: SocketAddr, path: String, next_hop: Option<SocketAddr>) -> std::io::Result<()> {
    let file = File::create_zeroed(Path::new(&path), FILE_BYTES, |_| Duration::ZERO).await?;
    file.close().await?;
    let file = File::open(Path::new(&path), Access::ReadWrite).await?;
    let shard = Rc::new(Shard {
        gathering: RefCell::default(),
        bell: Bell::default(),
        outgoing: RefCell::default(),
        idle: RefCell::default(),
        relays: next_hop.is_some(),
    });
    task::spawn_critical(commit(shard.clone(), file));
    for _ in 0..next_hop.map_or(0, |_| SENDERS) {
        let (shard, hop) = (shard.clone(), next_hop.unwrap_or(address));
        task::spawn(async move { send(shard, hop).await.unwrap_or_else(|error| eprintln!("sender: {error}")) });
    }
    let listener = Listener::bind(address, &SocketOptions::default())?;
    listener
        .serve(|accepted| {
            let shard = shard.clone();
            // A load generator that goes away in the middle is no news.
            task::spawn(async move { drop(talk(shard, Stream::from_accepted(accepted)).await) });
        })
        .await
}

/// Write, sync, wake, again: what came in the meantime is the next batch.
async fn commit(shard: Rc<Shard>, file: File) {
    let mut at = 0;
    loop {
        shard.bell.rung().await;
        let mut batch = std::mem::take(&mut *shard.gathering.borrow_mut());
        if batch.bytes.is_empty() {
            continue;
        }
        batch.bytes.resize(batch.bytes.len().next_multiple_of(BLOCK), 0);
        let length = batch.bytes.len() as u64;
        if at + length > FILE_BYTES {
            at = 0;
        }
        let stored = async {
            file.write_all_at(batch.bytes, at).await?;
            file.sync().await
        };
        if let Err(error) = stored.await {
            eprintln!("floor: {error}");
            std::process::exit(1);
        }
        at += length;
        for waiter in batch.waiting {
            let _ = waiter.send(()); // its client may be gone
        }
    }
}

impl Shard {
    fn append(&self, pieces: &[&[u8]], waiter: Option<sync::Sender<()>>) {
        let mut gathering = self.gathering.borrow_mut();
        pieces.iter().for_each(|piece| gathering.bytes.extend_from_slice(piece));
        gathering.waiting.extend(waiter);
        self.bell.ring();
    }
}

/// One connection: every command is answered, content ends at CRLF.CRLF.
async fn talk(shard: Rc<Shard>, mut stream: Stream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 floor ESMTP\r\n").await?;
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    let mut is_content = false;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut replies = Vec::new();
        let mut used = 0;
        loop {
            let rest = &buffer[used..filled];
            if is_content {
                let Some(end) = memchr::memmem::find(rest, b"\r\n.\r\n") else { break };
                let (sender, stored) = sync::oneshot();
                shard.append(&[&rest[..end + 2]], Some(sender));
                let kept = shard.relays.then(|| rest[..end + 5].to_vec());
                stored.await.map_err(|_| std::io::ErrorKind::BrokenPipe)?;
                if let Some(content) = kept {
                    shard.outgoing.borrow_mut().push(content);
                    shard.idle.borrow_mut().pop().into_iter().for_each(|bell| bell.ring());
                }
                replies.extend_from_slice(b"250 2.0.0 Message accepted for delivery.\r\n");
                used += end + 5;
                is_content = false;
            } else {
                let Some(end) = memchr::memchr(b'\n', rest) else { break };
                match rest.first() {
                    Some(b'D' | b'd') => {
                        is_content = true;
                        replies.extend_from_slice(b"354 Start mail input; end with <CRLF>.<CRLF>\r\n");
                    }
                    Some(b'Q' | b'q') => return stream.write_all(b"221 2.0.0 Bye.\r\n").await,
                    _ => replies.extend_from_slice(b"250 2.0.0 OK\r\n"),
                }
                used += end + 1;
            }
        }
        buffer.copy_within(used..filled, 0);
        filled -= used;
        if filled == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        if !replies.is_empty() {
            stream.write_all(&replies).await?;
        }
    }
}

/// Sends what was committed over one connection: the envelope in one flight, content when it is asked for.
async fn send(shard: Rc<Shard>, hop: SocketAddr) -> std::io::Result<()> {
    let mut stream = net::connect(hop, None, Duration::from_secs(10)).await?;
    stream.set_nodelay(true)?;
    let (mut buffer, bell) = ([0; 1024], Bell::default());
    answered(&mut stream, &mut buffer, 1).await?;
    stream.write_all(b"HELO floor.invalid\r\n").await?;
    answered(&mut stream, &mut buffer, 1).await?;
    loop {
        let next = shard.outgoing.borrow_mut().pop();
        let Some(content) = next else {
            shard.idle.borrow_mut().push(bell.clone());
            bell.rung().await;
            continue;
        };
        stream.write_all(b"MAIL FROM:<a@one.test>\r\nRCPT TO:<b@two.test>\r\nDATA\r\n").await?;
        answered(&mut stream, &mut buffer, 3).await?;
        stream.write_all(&content).await?;
        answered(&mut stream, &mut buffer, 1).await?;
        shard.append(&[&STATUS], None);
    }
}

/// Reads until as many lines have come.
async fn answered(stream: &mut Stream, buffer: &mut [u8], mut lines: usize) -> std::io::Result<()> {
    while lines > 0 {
        let count = stream.read(buffer).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        lines = lines.saturating_sub(memchr::memchr_iter(b'\n', &buffer[..count]).count());
    }
    Ok(())
}
