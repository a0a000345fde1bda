//! Limits per client address, answered with 421 as large providers do. Pure; `now` is passed in.

use std::collections::HashMap;
use std::net::IpAddr;

/// What one client may do. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at once.
    pub connections: Option<u32>,
    /// Messages within any sixty seconds, by windows that begin with the first of them.
    pub messages_per_minute: Option<u32>,
}

impl ClientLimits {
    /// Nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == ClientLimits::default()
    }
}

#[derive(Debug, Default)]
struct Client {
    connections: u32,
    window_from_us: u64,
    messages: u32,
}

const MINUTE_US: u64 = 60_000_000;

/// The clients that were seen. Behind a lock, because a client's connections spread over all shards; used
/// only where a limit is set.
#[derive(Debug, Default)]
pub struct Clients {
    limits: ClientLimits,
    table: HashMap<IpAddr, Client>,
}

impl Clients {
    /// A table without clients.
    pub fn new(limits: ClientLimits) -> Self {
        Clients { limits, table: HashMap::new() }
    }

    /// Counts a connection; false is one too many, and is not counted.
    pub fn connect(&mut self, address: IpAddr) -> bool {
        let client = self.table.entry(address).or_default();
        let has_room = self.limits.connections.is_none_or(|most| client.connections < most);
        client.connections += u32::from(has_room);
        has_room
    }

    /// A counted connection has ended.
    pub fn disconnect(&mut self, address: IpAddr) {
        if let Some(client) = self.table.get_mut(&address) {
            client.connections = client.connections.saturating_sub(1);
        }
    }

    /// Counts a message that begins; false is one too many in this minute.
    pub fn message(&mut self, address: IpAddr, now_us: u64) -> bool {
        let Some(most) = self.limits.messages_per_minute else { return true };
        let client = self.table.entry(address).or_default();
        if now_us.saturating_sub(client.window_from_us) >= MINUTE_US || client.messages == 0 {
            (client.window_from_us, client.messages) = (now_us, 0);
        }
        client.messages += 1;
        client.messages <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn connections_are_counted_until_they_end() {
        let mut clients = Clients::new(ClientLimits { connections: Some(2), ..ClientLimits::default() });
        assert!(clients.connect(ONE) && clients.connect(ONE) && !clients.connect(ONE));
        clients.disconnect(ONE);
        assert!(clients.connect(ONE));
    }

    #[test]
    fn a_minute_begins_anew() {
        let mut clients = Clients::new(ClientLimits { messages_per_minute: Some(2), ..ClientLimits::default() });
        assert!(clients.message(ONE, 5) && clients.message(ONE, 6) && !clients.message(ONE, 7));
        assert!(clients.message(ONE, 5 + MINUTE_US));
    }
}
