//! Counters of the server itself: syncs, octets written, messages between shards.

use crate::book;
use crate::traffic::{Kind, Scene};

/// How often 50 sessions share a sync. It depends on the disk, too: a slow one gathers more. Hence a wide margin.
#[test]
fn syncs_are_shared() {
    let _alone = book::alone();
    book::settle([(Kind::Accept, 1), (Kind::Accept, 2), (Kind::Relay, 1)].map(|(kind, shards)| {
        let [syncs] = Scene::start(kind, shards, 50, 1024).per_message(20, ["spool_syncs_total"]);
        book::check(&format!("syncs.{}.shards-{shards}", kind.name()), "syncs per message at 50 sessions", syncs)
    }));
}

/// The spool writes what it accepted and little more, also where batches are small.
#[test]
fn bytes_written_are_the_bytes_accepted() {
    let _alone = book::alone();
    book::settle([(Kind::Accept, 50), (Kind::Relay, 50), (Kind::Relay, 1), (Kind::Told, 50)].map(
        |(kind, sessions)| {
            let mut scene = Scene::start(kind, 1, sessions, 10 * 1024);
            let [bytes] = scene.per_message(500 / sessions, ["spool_bytes_written_total"]);
            let name = format!("bytes-written.{}.sessions-{sessions}", kind.name());
            let share = bytes / scene.content_bytes() as f64;
            book::check(&name, "octets written per octet accepted, 10 KB mail", share)
        },
    ));
}

/// A message is the business of one shard: what crosses does not grow with the mail, nor with the shards. Fourteen
/// are what the usual 8 MiB of locked memory admit.
#[test]
fn messages_stay_on_their_shard() {
    let _alone = book::alone();
    let mut faults = Vec::new();
    for (kind, shards) in [(Kind::Accept, 2), (Kind::Relay, 2), (Kind::Relay, 8), (Kind::Relay, 14)] {
        let mut scene = Scene::start(kind, shards, 50, 1024);
        let [crossed] = scene.in_steady_flow(40, ["shard_messages_total"]);
        let name = format!("cross-shard.{}.shards-{shards}", kind.name());
        faults.push(book::check(&name, "messages between shards per mail in a steady flow", crossed));
        if shards == 8 {
            let [crossed] = scene.per_message(20, ["shard_messages_total"]);
            let name = "cross-shard.relay-from-rest.shards-8";
            faults.push(book::check(name, "messages between shards per mail, 1000 mails from rest to rest", crossed));
        }
    }
    book::settle(faults);
}

/// Mail for one next hop goes over connections that are open already.
#[test]
fn connections_are_reused() {
    let _alone = book::alone();
    let mut scene = Scene::start(Kind::Relay, 1, 50, 1024);
    let [opened] = scene.per_message(20, ["delivery_connections_total"]);
    book::settle([book::check("connections.relay.sessions-50", "outbound connections per message", opened)]);
}
