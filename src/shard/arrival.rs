//! Messages as they enter the queue: just committed, or found by recovery. Pure.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::base::RecipientIndex;
use crate::queue::{Arrival, ArrivalRecipient};
use crate::spool::{Message, Recovered};

/// Gives `enter` a message that was just committed.
pub fn of_message<T>(message: &Rc<Message>, enter: impl FnOnce(Arrival<'_, Rc<Message>>) -> T) -> T {
    let envelope = &message.envelope;
    let domains: SmallVec<[_; 4]> =
        envelope.recipients.iter().map(|recipient| recipient.path.mailbox().domain_key()).collect();
    let recipients: SmallVec<[_; 4]> = domains
        .iter()
        .enumerate()
        .map(|(index, domain)| ArrivalRecipient::new(RecipientIndex(index as u32), domain))
        .collect();
    enter(Arrival {
        id: message.id,
        received_at: message.received.at,
        size_bytes: message.size_bytes(),
        priority: envelope.mail.priority,
        hold_until: envelope.mail.hold_until,
        deliver_by: envelope.mail.deliver_by,
        is_held: false,
        reverse_path: envelope.reverse_path.as_str(),
        tenant: message.received.authenticated_as.as_deref().unwrap_or(""),
        recipients_total: envelope.recipients.len() as u32,
        content: Some(message.clone()),
        recipients: &recipients,
    })
}

/// Gives `enter` a message that recovery found.
pub fn of_recovered<T>(recovered: &Recovered, enter: impl FnOnce(Arrival<'_, Rc<Message>>) -> T) -> T {
    let recipients: SmallVec<[ArrivalRecipient<'_>; 4]> = recovered
        .recipients
        .iter()
        .map(|recipient| ArrivalRecipient {
            index: recipient.index,
            domain: &recipient.domain,
            due: recipient.due,
            attempts: recipient.attempts,
            delay_notices: recipient.delay_notices,
            last_error: recipient.last_error,
        })
        .collect();
    enter(Arrival {
        id: recovered.id,
        received_at: recovered.received_at,
        size_bytes: recovered.size_bytes,
        priority: recovered.priority,
        hold_until: recovered.hold_until,
        deliver_by: recovered.deliver_by,
        is_held: recovered.is_held,
        reverse_path: &recovered.reverse_path,
        tenant: &recovered.authenticated_as,
        recipients_total: recovered.recipients_total,
        content: None,
        recipients: &recipients,
    })
}
