//! Reload: a bad file changes nothing; a good one is compared, its new listeners are bound, and then
//! every shard gets the new snapshot.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use compact_str::CompactString;
use posthaste_rt::mesh::Address;
use tokio::sync::oneshot;

use crate::config::{self, Config, Loaded};
use crate::events::Writers;
use crate::listener;
use crate::shard::query::Answer;
use crate::shard::{Active, Message, Opened, Update};
use crate::tls::identity::{Identity, IdentityFault, Tickets};

/// Who keeps the configuration in force and replaces it.
pub struct Reloader {
    path: Option<PathBuf>,
    tickets: Tickets,
    shards: Vec<Address<Message>>,
    in_force: Mutex<Loaded>,
    events: Arc<Writers>,
}

/// What is made from a configuration once, for all shards.
///
/// # Errors
/// Certificates or TLS settings that cannot be used, in words.
pub fn activate(config: &Arc<Config>, tickets: &Tickets) -> Result<Active, String> {
    let words = |faults: Vec<IdentityFault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let identity = Identity::load(&config.certificates, &config.server.hostname, tickets.clone()).map_err(words)?;
    let mut tls = std::collections::HashMap::new();
    for listener in config.listeners.iter().filter(|listener| listener.tls.enable) {
        tls.insert(listener.id.clone(), identity.server_config(&listener.tls).map_err(words)?);
    }
    Ok(Active { config: config.clone(), tls })
}

impl Reloader {
    /// Keeps `loaded`, which is in force.
    pub fn new(
        path: Option<PathBuf>,
        tickets: Tickets,
        shards: Vec<Address<Message>>,
        loaded: Loaded,
        events: Arc<Writers>,
    ) -> Reloader {
        Reloader { path, tickets, shards, in_force: Mutex::new(loaded), events }
    }

    /// Reads the file again and puts it in force, or says why not. Files of events are opened anew in any case.
    pub async fn reload(&self) -> Answer {
        self.events.reopen();
        let (waiting, changes) = match self.begin() {
            Ok(begun) => begun,
            Err(reason) => return Answer::Refused { reason },
        };
        for receiver in waiting {
            let _ = receiver.await; // a shard that ends now needs no configuration
        }
        Answer::Reloaded { changes }
    }

    fn begin(&self) -> Result<(Vec<oneshot::Receiver<()>>, Vec<String>), String> {
        let next = config::load(self.path.as_deref()).map_err(|refused| refused.to_string())?;
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let diff = in_force.diff(&next);
        let active = Arc::new(activate(&next.config, &self.tickets)?);
        let before = addresses(&in_force.config);
        let after = addresses(&next.config);
        let mut opened: Vec<Vec<Opened>> = self.shards.iter().map(|_| Vec::new()).collect();
        for (id, address) in after.iter().filter(|one| !before.contains(one)) {
            let Some(listener) = next.config.listeners.iter().find(|l| l.id == *id) else { continue };
            for (shard, socket) in listener::bind(listener, *address, self.shards.len())
                .map_err(|error| error.to_string())?
                .into_iter()
                .enumerate()
            {
                opened[shard].push(Opened { listener: id.clone(), socket });
            }
        }
        let closed: Vec<_> = before.into_iter().filter(|one| !after.contains(one)).collect();
        let mut waiting = Vec::with_capacity(self.shards.len());
        for (shard, opened) in self.shards.iter().zip(opened) {
            let (sender, receiver) = oneshot::channel();
            let update = Update { active: active.clone(), opened, closed: closed.clone() };
            if shard.try_send(Message::Configure(Box::new(update), sender)).is_err() {
                return Err("a shard is too busy to take a configuration now; try again".into());
            }
            waiting.push(receiver);
        }
        let changes = if diff.is_empty() { Vec::new() } else { diff.to_string().lines().map(str::to_owned).collect() };
        *in_force = next;
        Ok((waiting, changes))
    }
}

fn addresses(config: &Config) -> Vec<(CompactString, SocketAddr)> {
    let each = config.listeners.iter().flat_map(|l| l.bind.iter().map(|address| (l.id.clone(), *address)));
    each.collect()
}
