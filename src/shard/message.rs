//! The closed set of messages that reach a shard, from other shards and from the control plane.

use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;
use posthaste_rt::net::{Accepted, BoundSocket};
use tokio::sync::oneshot;

use super::lending::{Offer, Returned};
use super::query::{Answer, Query};
use crate::base::ShardId;
use crate::config::Config;
use crate::limits::Item;
use crate::observe::Snapshot;
use crate::queue::LaneKey;

/// What a shard is told or asked.
pub enum Message {
    /// Lease traffic of one turn of another shard.
    Limits(ShardId, Vec<Item>),
    /// A connection that another shard accepted and gives away before its first byte.
    Socket(Handover),
    /// Another shard has so many sessions.
    Load(ShardId, usize),
    /// An attempt for this shard to make in the place of another.
    Offer(Box<Offer>),
    /// What became of an attempt of this shard that another one was offered.
    Returned(Box<Returned>),
    /// The sender wants one idle connection closed that an attempt lent by it left here; to be answered.
    CloseIdle(ShardId, LaneKey),
    /// The same, and the sender counts it no more.
    ForgetIdle(ShardId, LaneKey),
    /// An idle connection that an attempt of this shard had left with the sender is closed.
    IdleClosed(ShardId, LaneKey),
    /// A question of the control plane about this shard's queue.
    Query(Box<Query>, oneshot::Sender<Answer>),
    /// What this shard has counted.
    Snapshot(oneshot::Sender<Snapshot>),
    /// A new configuration; answered when it is in force here.
    Configure(Box<Update>, oneshot::Sender<()>),
    /// Take no new work, finish what is under way within the bound, write everything, end.
    Stop,
}

/// A connection in transit between shards.
pub struct Handover {
    /// The listener it came in by.
    pub listener: CompactString,
    /// The connection, of which nothing was read.
    pub accepted: Accepted,
}

/// The configuration in force, with what was made from it once for all shards. Immutable.
pub struct Active {
    /// The configuration.
    pub config: Arc<Config>,
    /// The TLS configuration of each listener that has TLS, by the listener's id.
    pub tls: std::collections::HashMap<CompactString, Arc<rustls::ServerConfig>>,
}

/// A socket for one shard, and the listener it belongs to.
pub struct Opened {
    /// The listener's id.
    pub listener: CompactString,
    /// The bound socket.
    pub socket: BoundSocket,
}

/// What changes on one shard with a new configuration.
pub struct Update {
    /// The new configuration.
    pub active: Arc<Active>,
    /// Sockets to accept on from now on.
    pub opened: Vec<Opened>,
    /// Listeners (id and address) to drain and close.
    pub closed: Vec<(CompactString, SocketAddr)>,
}
