//! Transactions at one address until its recipients are done with, and copies into Maildirs.

use std::io;

use bytes::Bytes;
use posthaste_rt::clock;

use super::connect::Dial;
use super::content::Content;
use super::convert::{self, Offer};
use super::link::Link;
use super::local::accounts;
use super::maildir::{Target, Writer};
use super::outcome::{Indices, Open, RecipientOutcome, Report};
use super::settings::LocalRoute;
use super::{Delivery, Inner, Job};
use crate::base::{RecipientIndex, WallTime};
use crate::mail::{Diagnostic, ErrorKind, Outcome, Recipient, Reply, Scope};
use crate::smtp::client::{Owed, Progress, Results, Transaction};

/// Content handed to a blocking thread at once.
const STORE_BYTES_MAX: usize = 1024 * 1024;

/// Tries one address: on an idle connection if there is one, else on a new one.
pub(super) async fn at_address<C: Content>(
    delivery: &Delivery,
    job: &Job<'_>,
    dial: Dial<'_>,
    offer: &mut Offer<'_, C>,
    open: &mut Open,
    report: &mut Report,
) {
    let mut link = None;
    let mut waiting = open.indices(); // those that this address was not asked about yet
    while !waiting.is_empty() {
        let (mut current, is_old) = match link.take() {
            Some(link) => (link, false),
            None => match delivery.reuse(job, &dial.key, report).await {
                Some(link) => (link, true),
                None => match delivery.open(dial.clone()).await {
                    Ok(link) => (link, false),
                    Err(refusal) => return open.note_all(&refusal.outcome),
                },
            },
        };
        let results = one(delivery, &mut current, job, &waiting, offer).await;
        if is_old && !results.was_answered {
            continue; // it had died while it idled: nothing of this transaction was answered
        }
        waiting = settle(results, open, report);
        match current.is_ready() {
            true if !waiting.is_empty() => link = Some(current),
            _ => report.has_idle = delivery.park(current, job),
        }
        if report.content_failed {
            return;
        }
    }
}

async fn one<C: Content>(
    delivery: &Delivery,
    link: &mut Link,
    job: &Job<'_>,
    recipients: &[RecipientIndex],
    offer: &mut Offer<'_, C>,
) -> Results {
    offer.content.rewind();
    let transaction = Transaction {
        envelope: job.envelope,
        recipients,
        content: job.facts,
        size_bytes: offer.content.size_bytes(),
        now: WallTime(clock::wall_ms()),
    };
    match link.client().untaken(&transaction) {
        Some(why) if job.connection.converts => {
            let hostname = &delivery.0.hostname;
            Box::pin(convert::transact(link, job, &transaction, offer, why, hostname)).await
        }
        _ => link.transact(&transaction, offer.content, &job.connection.timeouts).await,
    }
}

/// Books what a transaction came to; gives back those that go in another one here.
fn settle(results: Results, open: &mut Open, report: &mut Report) -> Indices {
    report.unknown += u32::from(results.is_unknown);
    report.recipients_max = results.recipients_max.or(report.recipients_max);
    let mut left = Indices::new();
    for result in results.recipients {
        let recipient = result.recipient;
        match result.progress {
            Progress::Left => left.push(recipient),
            Progress::Done { outcome, may_try_next_host: true, .. } => open.note(recipient, outcome),
            Progress::Done { outcome, owed, .. } => {
                report.content_failed |= outcome.diagnostic().kind == ErrorKind::Io;
                open.close(RecipientOutcome { recipient, outcome, owed }, report);
            }
        }
    }
    left
}

/// A copy for each recipient, one after the other.
pub(super) async fn store<C: Content>(inner: &Inner, job: &Job<'_>, route: &LocalRoute, content: &mut C) -> Report {
    let mut report = Report::default();
    for &index in job.recipients {
        let Some(recipient) = job.envelope.recipients.get(index.0 as usize) else { continue };
        let outcome = store_one(inner, job, route, (index, recipient), content, &mut report).await;
        let is_delivered = matches!(outcome, Outcome::Delivered(_));
        let owed = if is_delivered && recipient.notify_effective().success { Owed::Delivered } else { Owed::Nothing };
        report.outcomes.push(RecipientOutcome { recipient: index, outcome, owed });
    }
    report
}

async fn store_one<C: Content>(
    inner: &Inner,
    job: &Job<'_>,
    route: &LocalRoute,
    (index, recipient): (RecipientIndex, &Recipient),
    content: &mut C,
    report: &mut Report,
) -> Outcome {
    let accounts = match accounts(job.lookups, route, &recipient.path) {
        Ok(accounts) => accounts,
        Err(outcome) => return outcome,
    };
    for account in accounts {
        let addresses = (&recipient.path, &job.envelope.reverse_path);
        let id = (job.message, index);
        let Ok(target) = Target::new(route, &account, addresses, id, job.accepted_at, &inner.hostname) else {
            let reply = Reply::new(550, (5, 1, 3), "the recipient's name cannot be that of a mailbox");
            return Outcome::Failed(Diagnostic::local(ErrorKind::None, Scope::Recipient, reply));
        };
        if let Err(error) = write(inner, target, content).await {
            return not_stored(&error, report);
        }
    }
    let reply = Reply::new(250, (2, 1, 5), "stored");
    Outcome::Delivered(Diagnostic::local(ErrorKind::None, Scope::Recipient, reply))
}

fn not_stored(error: &StoreError, report: &mut Report) -> Outcome {
    let (scope, reply) = match error {
        StoreError::Content => {
            report.content_failed = true;
            (Scope::Message, Reply::new(451, (4, 3, 0), "the stored message could not be read"))
        }
        StoreError::Io(error) => {
            let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let status = if is_full { (4, 2, 2) } else { (4, 3, 0) };
            (Scope::Recipient, Reply::new(451, status, format!("cannot write to the mailbox: {error}")))
        }
    };
    Outcome::Deferred(Diagnostic::local(ErrorKind::Io, scope, reply))
}

enum StoreError {
    Content,
    Io(io::Error),
}

/// How far a copy is.
enum Stage {
    Begin(Target),
    Begun(Writer),
    Done,
}

impl Stage {
    fn advance_blocking(self, pieces: &[Bytes], is_last: bool) -> io::Result<Stage> {
        let mut writer = match self {
            Stage::Begin(target) => Writer::create_blocking(target)?,
            Stage::Begun(writer) => writer,
            Stage::Done => return Ok(Stage::Done),
        };
        writer.append_blocking(pieces)?;
        if !is_last {
            return Ok(Stage::Begun(writer));
        }
        writer.finish_blocking()?;
        Ok(Stage::Done)
    }
}

/// Writes a copy on the control plane's blocking threads, a batch of pieces at a time.
async fn write<C: Content>(inner: &Inner, target: Target, content: &mut C) -> Result<(), StoreError> {
    content.rewind();
    let (mut stage, mut sent) = (Stage::Begin(target), 0);
    loop {
        let (pieces, is_last) = batch(content).await?;
        sent += bytes_of(&pieces);
        if is_last && sent != content.size_bytes() {
            return Err(StoreError::Content);
        }
        let work = move || stage.advance_blocking(&pieces, is_last);
        let done = inner.control.spawn_blocking(work).await.map_err(|e| StoreError::Io(io::Error::other(e)))?;
        stage = done.map_err(StoreError::Io)?;
        if matches!(stage, Stage::Done) {
            return Ok(());
        }
    }
}

fn bytes_of(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

async fn batch<C: Content>(content: &mut C) -> Result<(Vec<Bytes>, bool), StoreError> {
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    while bytes < STORE_BYTES_MAX {
        match content.next().await {
            Ok(Some(piece)) => {
                bytes += piece.len();
                pieces.push(piece);
            }
            Ok(None) => return Ok((pieces, true)),
            Err(_) => return Err(StoreError::Content),
        }
    }
    Ok((pieces, false))
}
