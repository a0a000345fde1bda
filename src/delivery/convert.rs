//! Content for a host that does not take it as it is: converted to 7-bit on its way (`mail::downgrade`).
//!
//! It is read twice, piece by piece: once to decide and to know the size, once to send. What was decided serves all
//! hosts of the attempt.

use std::rc::Rc;

use bytes::Bytes;
use posthaste_rt::{clock, task};

use super::Job;
use super::content::{Content, ContentError};
use super::link::Link;
use crate::base::WallTime;
use crate::mail::downgrade::{Conversion, Refusal, Rewriter, Survey};
use crate::observe::log::{self, Level};
use crate::observe::{self, Counter, Event};
use crate::smtp::client::{Results, Transaction};

/// An attempt's content, and how it is converted once a host needs that.
pub(super) struct Offer<'a, C> {
    pub(super) content: &'a mut C,
    conversion: Option<Result<Rc<Conversion>, Refusal>>,
}

impl<'a, C: Content> Offer<'a, C> {
    pub(super) fn new(content: &'a mut C) -> Self {
        Offer { content, conversion: None }
    }

    async fn conversion(&mut self, host: &str) -> Result<Result<Rc<Conversion>, Refusal>, ContentError> {
        if let Some(known) = &self.conversion {
            return Ok(known.clone());
        }
        let found = survey(self.content, host).await?;
        self.conversion = Some(found.clone());
        Ok(found)
    }
}

/// One transaction with converted content; `why` are the words for what the host does not take.
pub(super) async fn transact<C: Content>(
    link: &mut Link,
    job: &Job<'_>,
    transaction: &Transaction<'_>,
    offer: &mut Offer<'_, C>,
    why: &str,
    hostname: &str,
) -> Results {
    let conversion = match offer.conversion(hostname).await {
        Ok(Ok(conversion)) => conversion,
        Ok(Err(refusal)) => {
            observe::count(Counter::ConversionsRefused);
            let reply = refusal.reply(why);
            tell(link, job, Level::Warn, &reply);
            return link.client().refused(transaction, reply);
        }
        Err(ContentError) => return link.client().unread(transaction),
    };
    let facts = conversion.facts(transaction.content);
    let converted = Transaction { content: &facts, size_bytes: conversion.size_bytes(), ..*transaction };
    let mut content = Converted::new(offer.content, conversion);
    let results = link.transact(&converted, &mut content, &job.connection.timeouts).await;
    if content.is_sent {
        observe::count(Counter::ContentsConverted);
        tell(link, job, Level::Info, why);
    }
    results
}

fn tell(link: &mut Link, job: &Job<'_>, level: Level, why: impl std::fmt::Display) {
    let remote = link.client().remote().to_owned();
    log::event(WallTime(clock::wall_ms()), level, Event::AttemptConverted, |line| {
        line.show("id", job.message).text("remote", &remote).show("reason", why);
    });
}

async fn survey<C: Content>(content: &mut C, host: &str) -> Result<Result<Rc<Conversion>, Refusal>, ContentError> {
    content.rewind();
    let (mut survey, mut read) = (Survey::new(host), 0);
    while let Some(piece) = content.next().await? {
        read += piece.len() as u64;
        if let Err(refusal) = survey.push(&piece) {
            return Ok(Err(refusal));
        }
        task::yield_if_needed().await;
    }
    if read != content.size_bytes() {
        return Err(ContentError); // not what was stored: none of it may leave
    }
    Ok(survey.finish())
}

/// Content as it is after its conversion.
struct Converted<'a, C> {
    content: &'a mut C,
    conversion: Rc<Conversion>,
    rewriter: Option<Rewriter>,
    is_sent: bool,
}

impl<'a, C: Content> Converted<'a, C> {
    fn new(content: &'a mut C, conversion: Rc<Conversion>) -> Self {
        content.rewind();
        let rewriter = Some(Rewriter::new(conversion.clone()));
        Converted { content, conversion, rewriter, is_sent: false }
    }
}

impl<C: Content> Content for Converted<'_, C> {
    fn size_bytes(&self) -> u64 {
        self.conversion.size_bytes()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        while let Some(rewriter) = &mut self.rewriter {
            let out = match self.content.next().await? {
                Some(piece) => rewriter.push(&piece),
                None => {
                    let rest = rewriter.finish();
                    (self.rewriter, self.is_sent) = (None, true);
                    rest
                }
            };
            // It was another message when it was looked at: nothing of it may arrive.
            let out = out.map_err(|_| ContentError)?;
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }

    fn rewind(&mut self) {
        self.content.rewind();
        self.rewriter = Some(Rewriter::new(self.conversion.clone()));
    }
}
