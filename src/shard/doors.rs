//! The listeners of one shard, what their sessions go by, and who takes a connection that another shard can serve better.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use compact_str::CompactString;
use posthaste_rt::net::Accepted;
use posthaste_rt::task;
use std::collections::HashMap;

use super::inbound::Front;
use super::message::{Handover, Message, Opened};
use super::state::Shard;
use crate::base::ShardId;
use crate::base::budget::Budget;
use crate::limits::KeyMaker;
use crate::listener::{Door, Shared};
use crate::observe::log::{self, Level};
use crate::observe::{self, Counter, Event, Gauge};
use crate::session::{Current, Floor};

/// A shard with so many sessions more than the mean passes new ones on: a quarter, and at least these.
const MARGIN_SESSIONS: usize = 16;

/// All doors of a shard.
pub struct Doors {
    by_listener: RefCell<HashMap<CompactString, Rc<Door<Front>>>>,
    /// Sockets being served, so that one can be closed alone.
    serving: RefCell<Vec<Serving>>,
    floor: Floor,
    front: Rc<Front>,
    keys: KeyMaker,
    /// Sessions of every shard, as they last said.
    loads: Rc<Loads>,
}

/// One socket being served: the listener, where it is bound, and its door.
type Serving = (CompactString, SocketAddr, Rc<Door<Front>>);

/// How many sessions the shards have, by what they last told.
pub struct Loads {
    own: ShardId,
    sessions: RefCell<Vec<usize>>,
    told: Cell<usize>,
}

impl Loads {
    fn new(own: ShardId, shards: usize) -> Loads {
        Loads { own, sessions: RefCell::new(vec![0; shards.max(1)]), told: Cell::new(0) }
    }

    /// Another shard has so many.
    pub fn hear(&self, shard: ShardId, sessions: usize) {
        if let Some(slot) = self.sessions.borrow_mut().get_mut(usize::from(shard.0)) {
            *slot = sessions;
        }
    }

    /// What is to be told to the others now, if it has changed enough to matter.
    pub fn news(&self, sessions: usize) -> Option<usize> {
        self.hear(self.own, sessions);
        let far = sessions.abs_diff(self.told.get()) > MARGIN_SESSIONS / 4;
        let settled = sessions == 0 && self.told.get() != 0;
        (far || settled).then(|| {
            self.told.set(sessions);
            sessions
        })
    }

    /// The shard that should take a connection in our place, if we have many more than the mean.
    fn better(&self, own_sessions: usize) -> Option<ShardId> {
        let sessions = self.sessions.borrow();
        let others = sessions.iter().enumerate().filter(|(i, _)| *i != usize::from(self.own.0));
        let total: usize = others.clone().map(|(_, n)| n).sum::<usize>() + own_sessions;
        let mean = total / sessions.len();
        let (least, count) = others.min_by_key(|(_, n)| **n)?;
        (own_sessions > mean + (mean / 4).max(MARGIN_SESSIONS) && *count < mean).then_some(ShardId(least as u16))
    }

    /// One more over there: until it tells itself.
    fn gave(&self, to: ShardId) {
        if let Some(slot) = self.sessions.borrow_mut().get_mut(usize::from(to.0)) {
            *slot += 1;
        }
    }
}

impl Doors {
    /// Opens a door for each listener and accepts on these sockets.
    pub fn open(shard: &Rc<Shard>, shards: u16, keys: KeyMaker, sockets: Vec<Opened>) -> Doors {
        let active = shard.active();
        let doors = Doors {
            by_listener: RefCell::default(),
            serving: RefCell::default(),
            floor: Floor::new(Budget::new(active.config.session.memory_budget)),
            front: Rc::new(Front(shard.clone())),
            keys,
            loads: Rc::new(Loads::new(shard.id, usize::from(shards))),
        };
        doors.enter_profiles(shard);
        sockets.into_iter().for_each(|opened| doors.serve(shard, opened));
        doors
    }

    /// What shards tell each other about their sessions.
    pub fn loads(&self) -> &Rc<Loads> {
        &self.loads
    }

    /// Sessions of this shard.
    pub fn sessions(&self) -> usize {
        self.floor.crew().len()
    }

    /// Octets that sessions hold.
    pub fn reserved_bytes(&self) -> usize {
        self.floor.budget().used()
    }

    /// Serves a connection that another shard accepted.
    pub fn take(&self, handover: Handover) {
        let Handover { listener, accepted } = handover;
        match self.by_listener.borrow().get(&listener) {
            Some(door) => door.admit(accepted),
            None => observe::count(Counter::LinksRefused), // the listener went meanwhile; dropping it closes it
        }
    }

    /// A new configuration: profiles are replaced, new sockets served, old ones drained and closed.
    pub fn reload(&self, shard: &Rc<Shard>, opened: Vec<Opened>, closed: &[(CompactString, SocketAddr)]) {
        self.enter_profiles(shard);
        opened.into_iter().for_each(|opened| self.serve(shard, opened));
        let mut serving = self.serving.borrow_mut();
        serving.retain(|(id, address, door)| {
            let goes = closed.iter().any(|(closed_id, closed)| closed_id == id && closed == address);
            if goes {
                door.stop_at(*address);
            }
            !goes
        });
    }

    /// No more connections; sessions finish what they are at.
    pub fn close_all(&self) {
        for (_, _, door) in self.serving.borrow_mut().drain(..) {
            door.stop();
        }
        self.floor.crew().stop();
    }

    /// Waits until no session is left.
    pub async fn sessions_gone(&self) {
        self.floor.crew().gone().await;
    }

    fn enter_profiles(&self, shard: &Rc<Shard>) {
        let active = shard.active();
        let lookups = shard.lookups();
        let shared = Shared {
            policy: Rc::new(active.config.policy.clone()),
            session: Rc::new(active.config.session.clone()),
            lookups: (*lookups).clone(),
            keys: self.keys.clone(),
            durability: active.config.spool.durability,
        };
        let mut by_listener = self.by_listener.borrow_mut();
        for settings in &active.config.listeners {
            let profile = settings.profile(&shared, active.tls.get(&settings.id).cloned());
            match by_listener.get(&settings.id) {
                Some(door) => door.current().replace(profile),
                None => {
                    let door = Door::new(Current::new(profile), self.floor.clone(), self.front.clone());
                    by_listener.insert(settings.id.clone(), door);
                }
            }
        }
    }

    fn serve(&self, shard: &Rc<Shard>, opened: Opened) {
        let Opened { listener, socket } = opened;
        let Some(door) = self.by_listener.borrow().get(&listener).cloned() else { return };
        self.serving.borrow_mut().push((listener.clone(), socket.local_addr(), door.clone()));
        let (loads, crew, shard) = (self.loads.clone(), self.floor.crew().clone(), shard.clone());
        task::spawn(async move {
            let pass = |accepted| pass(&shard, &loads, crew.len(), &listener, accepted);
            if let Err(error) = door.serve(socket, pass).await {
                log::event(shard.now().wall, Level::Error, Event::ServerWarning, |line| {
                    line.text("listener", &listener).show("error", error);
                });
            }
        });
    }
}

/// Gives a connection to a shard with fewer sessions, or back to be served here.
fn pass(shard: &Shard, loads: &Loads, own: usize, listener: &CompactString, accepted: Accepted) -> Option<Accepted> {
    let Some(better) = loads.better(own) else { return Some(accepted) };
    let Some(Some(outbox)) = shard.others.get(usize::from(better.0)) else { return Some(accepted) };
    loads.gave(better);
    observe::count(Counter::MeshMessages);
    match outbox.send(Message::Socket(Handover { listener: listener.clone(), accepted })) {
        Ok(()) => None,
        Err(error) => match error.into_message() {
            Message::Socket(handover) => Some(handover.accepted),
            _ => None,
        },
    }
}

/// Gauges about sessions.
pub fn gauges(doors: &Doors) {
    observe::gauge_set(Gauge::MemoryReserved, doors.reserved_bytes() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_to_the_least_loaded_shard_beyond_a_margin() {
        let loads = Loads::new(ShardId(0), 3);
        assert_eq!(loads.better(5), None, "small differences do not matter");
        loads.hear(ShardId(1), 100);
        loads.hear(ShardId(2), 10);
        assert_eq!(loads.better(60), None, "near the mean");
        assert_eq!(loads.better(120), Some(ShardId(2)));
        for _ in 0..90 {
            loads.gave(ShardId(2));
        }
        assert_eq!(loads.better(120), None, "what was given counts at once");
        assert_eq!(Loads::new(ShardId(0), 1).better(1000), None, "there is nobody else");
    }

    #[test]
    fn only_changes_that_matter_are_told() {
        let loads = Loads::new(ShardId(0), 2);
        assert_eq!(loads.news(2), None);
        assert_eq!(loads.news(20), Some(20));
        assert_eq!(loads.news(21), None);
        assert_eq!(loads.news(0), Some(0));
    }
}
