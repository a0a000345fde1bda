//! One session of the source: connects, sends what is due, measures, starts again.

use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::{clock, task, time};

use super::content::Letter;
use super::link::{Failure, Link, Watch};
use super::recipients::Recipients;
use super::settings::Settings;
use super::shard::{Shard, Slot};
use super::stats::{Outcome, Span};
use super::wire;

/// Longer contents are sent from where they are instead of being copied behind the commands.
const COPIED_BYTES_MAX: usize = 16 * 1024;
/// Pause after a connection failed, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a session uses again and again.
#[derive(Default)]
struct Work {
    out: Vec<u8>,
    recipients: Recipients,
    /// Keys of the recipients that were taken.
    taken: Vec<u64>,
    /// The content was on its way: without a reply nobody knows.
    is_uncertain: bool,
}

/// Sends what is due until the run is over.
pub async fn run(shard: &Rc<Shard>) {
    let (mut link, mut work, mut failures) = (None, Work::default(), 0u32);
    while let Some(slot) = shard.next_slot().await {
        shard.begin(&slot);
        let settings = &shard.given.settings;
        let size = settings.sizes.draw(&mut shard.random.borrow_mut());
        let sent = send(shard, &mut link, &mut work, &slot, size).await;
        let outcome = conclude(shard, &slot, &work, &sent);
        shard.end(&slot, outcome, size);
        if sent.is_err() {
            if link.take().is_some() {
                shard.stats.borrow_mut().open -= 1;
            }
            // A refused message is no reason to pause; a connection that ends is.
            time::sleep((PAUSE_MIN * 2u32.pow(failures.min(10))).min(PAUSE_MAX)).await;
            failures += 1;
        } else {
            failures = 0;
            let is_full = link.as_ref().is_some_and(|link| settings.per_connection.is_some_and(|n| link.messages >= n));
            if let Some(full) = link.take_if(|_| is_full) {
                full.quit(shard).await;
            }
        }
        task::yield_if_needed().await;
    }
    if let Some(link) = link {
        link.quit(shard).await;
    }
}

/// Counts and writes down what came of a message.
fn conclude(shard: &Shard, slot: &Slot, work: &Work, sent: &Result<Outcome, Failure>) -> Outcome {
    match sent {
        Ok(outcome) => {
            if matches!(outcome, Outcome::Acknowledged { .. }) {
                shard.write_down(slot.number, &work.taken, true);
            }
            *outcome
        }
        Err(Failure::Refused(_, 400..500)) => Outcome::Tempfailed,
        Err(Failure::Refused(..)) => Outcome::Rejected,
        Err(Failure::Broken(span, words)) => {
            shard.stats.borrow_mut().error(*span, words);
            if work.is_uncertain {
                shard.write_down(slot.number, &work.taken, false);
            }
            Outcome::Failed
        }
    }
}

async fn send(
    shard: &Shard,
    link: &mut Option<Link>,
    work: &mut Work,
    slot: &Slot,
    size: usize,
) -> Result<Outcome, Failure> {
    work.is_uncertain = false;
    let settings = shard.given.settings.clone();
    let link = match link {
        Some(link) => link,
        None => link.insert(Link::open(shard, slot.is_measured, false).await?),
    };
    link.messages += 1;
    let letter = shard.given.library.letter(slot.number, size);
    let watch = Watch { last: clock::now(), is_measured: slot.is_measured };
    work.out.clear();
    let length = letter.size(shard.given.library.head_length());
    wire::push_mail(&mut work.out, settings.sender.as_bytes(), settings.features, length, slot.number);
    work.recipients.draw(&settings.population, settings.recipients, &mut shard.random.borrow_mut());
    let exchange = Exchange { shard, settings: &settings, link, work, watch, letter: &letter, length };
    match settings.features.pipelining {
        true => exchange.pipelined().await,
        false => exchange.in_turns().await,
    }
}

/// One message on a link.
struct Exchange<'a> {
    shard: &'a Shard,
    settings: &'a Settings,
    link: &'a mut Link,
    work: &'a mut Work,
    watch: Watch,
    letter: &'a Letter<'a>,
    length: usize,
}

/// The outcome that a refusing code is.
fn refusal(code: u16) -> Outcome {
    if (400..500).contains(&code) { Outcome::Tempfailed } else { Outcome::Rejected }
}

impl Exchange<'_> {
    /// MAIL, RCPT and DATA (or BDAT with the content) in one write (RFC 2920).
    async fn pipelined(mut self) -> Result<Outcome, Failure> {
        let is_chunked = self.settings.features.chunking;
        for address in self.work.recipients.addresses() {
            wire::push_rcpt(&mut self.work.out, address, self.settings.features);
        }
        if is_chunked {
            self.work.is_uncertain = true;
            wire::push_bdat(&mut self.work.out, self.length);
            self.send_content().await?;
        } else {
            self.work.out.extend_from_slice(b"DATA\r\n");
            self.link.send(Span::Mail, &self.work.out).await?;
        }
        // All of the group counts from its sending.
        let sent_at = self.watch.last;
        let mail = self.link.reply(self.shard, Span::Mail).await?;
        self.watch.lap(self.shard, Span::Mail);
        self.watch.last = sent_at;
        let rcpt = self.replies_to_rcpt().await?;
        self.watch.lap(self.shard, Span::Rcpt);
        if is_chunked {
            return self.chunk_replies(mail, rcpt).await;
        }
        self.watch.last = sent_at;
        let data = self.link.reply(self.shard, Span::Data).await?;
        self.watch.lap(self.shard, Span::Data);
        match data {
            354 if self.work.taken.is_empty() => {
                // RFC 2920 §3.1: a server may say 354 without a recipient; nothing is the content then.
                self.link.send(Span::Content, b".\r\n").await?;
                self.link.reply(self.shard, Span::Final).await?;
                Ok(refusal(if mail >= 400 { mail } else { rcpt }))
            }
            354 => self.content().await,
            _ => self.refused(mail, rcpt, data).await,
        }
    }

    /// The replies to a chunk that was sent with its commands.
    async fn chunk_replies(self, mail: u16, rcpt: u16) -> Result<Outcome, Failure> {
        if self.work.taken.is_empty() {
            let code = self.link.reply(self.shard, Span::Final).await?;
            return self.refused(mail, rcpt, code).await;
        }
        self.final_replies().await
    }

    async fn replies_to_rcpt(&mut self) -> Result<u16, Failure> {
        self.work.taken.clear();
        let mut refused = 0;
        for place in 0..self.work.recipients.keys.len() {
            match self.link.reply(self.shard, Span::Rcpt).await? {
                200..300 => self.work.taken.push(self.work.recipients.keys[place]),
                code => refused = code,
            }
        }
        Ok(refused)
    }

    /// Nothing was taken: which reply says why, and an open transaction ended.
    async fn refused(self, mail: u16, rcpt: u16, data: u16) -> Result<Outcome, Failure> {
        if mail < 400 {
            self.link.send(Span::Final, b"RSET\r\n").await?;
            self.link.reply(self.shard, Span::Final).await?;
        }
        let code = [mail, rcpt, data].into_iter().find(|code| *code >= 400).unwrap_or(data);
        Ok(refusal(code))
    }

    /// Each command waits for its reply.
    async fn in_turns(mut self) -> Result<Outcome, Failure> {
        self.link.send(Span::Mail, &self.work.out).await?;
        let mail = self.link.reply(self.shard, Span::Mail).await?;
        self.watch.lap(self.shard, Span::Mail);
        if mail >= 400 {
            return Ok(refusal(mail));
        }
        let rcpt = self.recipients_in_turns().await?;
        self.watch.lap(self.shard, Span::Rcpt);
        if self.work.taken.is_empty() {
            return self.refused(mail, rcpt, rcpt).await;
        }
        self.work.out.clear();
        if self.settings.features.chunking {
            self.work.is_uncertain = true;
            wire::push_bdat(&mut self.work.out, self.length);
            self.send_content().await?;
            self.watch.lap(self.shard, Span::Content);
            return self.final_replies().await;
        }
        self.link.send(Span::Data, b"DATA\r\n").await?;
        let data = self.link.reply(self.shard, Span::Data).await?;
        self.watch.lap(self.shard, Span::Data);
        if data != 354 {
            return self.refused(mail, 0, data).await;
        }
        self.content().await
    }

    async fn recipients_in_turns(&mut self) -> Result<u16, Failure> {
        self.work.taken.clear();
        let mut refused = 0;
        let Work { out, recipients, taken, .. } = &mut *self.work;
        for (address, key) in recipients.addresses().zip(&recipients.keys) {
            out.clear();
            wire::push_rcpt(out, address, self.settings.features);
            self.link.send(Span::Rcpt, out).await?;
            match self.link.reply(self.shard, Span::Rcpt).await? {
                200..300 => taken.push(*key),
                code => refused = code,
            }
        }
        Ok(refused)
    }

    /// The content behind DATA, and its replies.
    async fn content(mut self) -> Result<Outcome, Failure> {
        self.work.out.clear();
        self.work.is_uncertain = true;
        self.send_content().await?;
        self.watch.lap(self.shard, Span::Content);
        self.final_replies().await
    }

    /// Sends what is gathered and the content behind it, dotted and ended where it goes over DATA.
    async fn send_content(&mut self) -> Result<(), Failure> {
        let (letter, is_chunked) = (self.letter, self.settings.features.chunking);
        let (body, end): (&[u8], &[u8]) = if is_chunked { (letter.body, b"") } else { (letter.dotted, b".\r\n") };
        let out = &mut self.work.out;
        self.shard.given.library.push_head(out, letter);
        if body.len() > COPIED_BYTES_MAX {
            return self.link.send_pieces(Span::Content, [out, body, &letter.tail, end]).await;
        }
        for piece in [body, &letter.tail, end] {
            out.extend_from_slice(piece);
        }
        self.link.send(Span::Content, out).await
    }

    /// One reply, with LMTP one for each recipient that was taken (RFC 2033 §4.2).
    async fn final_replies(mut self) -> Result<Outcome, Failure> {
        let mut refused = 0;
        if self.settings.is_lmtp {
            let mut place = 0;
            for _ in 0..self.work.taken.len() {
                match self.link.reply(self.shard, Span::Final).await? {
                    200..300 => place += 1,
                    code => {
                        refused = code;
                        self.work.taken.remove(place);
                    }
                }
            }
        } else {
            let code = self.link.reply(self.shard, Span::Final).await?;
            if code >= 300 {
                refused = code;
                self.work.taken.clear();
            }
        }
        self.work.is_uncertain = false;
        self.watch.lap(self.shard, Span::Final);
        Ok(match self.work.taken.len() {
            0 => refusal(refused),
            recipients => Outcome::Acknowledged { recipients },
        })
    }
}

/// Opens a connection that only stays open, and keeps it until the shard ends.
pub async fn idle(shard: Rc<Shard>) {
    loop {
        match Link::open(&shard, false, false).await {
            Ok(link) => {
                if let Failure::Broken(span, words) = link.wait_for_end(&shard).await {
                    shard.stats.borrow_mut().error(span, &format!("an idle connection: {words}"));
                }
            }
            Err(Failure::Broken(span, words)) => shard.stats.borrow_mut().error(span, &words),
            Err(Failure::Refused(..)) => {}
        }
        time::sleep(PAUSE_MAX).await;
    }
}
