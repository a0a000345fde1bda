//! Document to snapshot: every room reads its tables, then what no single room can see is checked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::file::host_name;
use super::foreign;
use super::names;
use super::queue;
use super::server::{self, ServerSettings};
use crate::schema::{Document, Environment, Fault, FaultKind, Findings, Reader, Section};
use crate::tls::identity::{Identity, IdentityFault, Tickets};
use crate::{
    control, delivery, dns, events, limits, listener, lookup, observe, policy, report, scheduler, session, spool,
};

/// One checked configuration. Immutable: a reload makes another.
#[derive(Debug, Clone)]
pub struct Config {
    /// The process.
    pub server: ServerSettings,
    /// The listeners that are ours, in the order of the file.
    pub listeners: Vec<listener::Settings>,
    /// The identities of the TLS server, in the order of the file.
    pub certificates: Vec<listener::Certificate>,
    /// Where accepted mail is kept.
    pub spool: spool::Settings,
    /// The DNS.
    pub dns: dns::Settings,
    /// What a client may do.
    pub policy: policy::Settings,
    /// How long and how much.
    pub session: session::Settings,
    /// Limits and quotas.
    pub limits: limits::settings::Settings,
    /// When recipients are tried.
    pub scheduler: scheduler::Settings,
    /// How mail leaves.
    pub delivery: Arc<delivery::settings::Settings>,
    /// Delivery status notifications.
    pub report: report::settings::Settings,
    /// Who and what is known here.
    pub lookups: Arc<lookup::Lookups>,
    /// Logs and metrics.
    pub observe: observe::settings::Settings,
    /// Who is told what happens.
    pub events: Vec<events::Settings>,
    /// The operator's socket.
    pub control: control::settings::Settings,
}

/// Shards take snapshots across threads.
const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Config>();
};

/// The snapshot of `document`; it may be used if the findings hold no fault.
pub(super) fn resolve(document: &Document, environment: &dyn Environment) -> (Config, Findings) {
    let mut reader = Reader::new(document).with_fact("server.hostname", host_name());
    for (key, variable) in [("server.run-as.user", "RUN_AS_USER"), ("server.run-as.group", "RUN_AS_GROUP")] {
        if let Some(name) = environment.variable(variable).filter(|name| !name.is_empty()) {
            reader = reader.with_fact(key, name);
        }
    }
    reader.read(read)
}

/// Reads the whole file. Also runs over nothing, for the reference.
pub(super) fn read(root: &Section<'_>) -> Config {
    let machine_name = root.fact("server.hostname").unwrap_or("localhost").to_owned();
    let server = server::read(root, &machine_name);
    let queue =
        root.table("queue", "The queue and what leaves it.", |s| queue::read(s, &server.settings, &server.listeners));
    let session = root.table("session", "What a client may do at each stage, and how much of it.", |s| {
        super::session::read(s, &server.settings, queue.inbound)
    });
    let told = events::Settings::read_all(root);
    let config = Config {
        limits: queue.limits,
        scheduler: queue.scheduler,
        delivery: Arc::new(queue.delivery),
        policy: session.policy,
        session: session.session,
        server: server.settings,
        listeners: server.listeners,
        certificates: root
            .named(
                "certificate",
                "An identity of the TLS server, chosen by the name the client asks for. Without any, it is self-signed.",
                listener::Certificate::read,
            )
            .into_iter()
            .map(|(_, certificate)| certificate)
            .collect(),
        spool: spool::Settings {
            shippers: told.iter().map(events::Settings::shipper).collect(),
            ..root.table("spool", "Where accepted mail is kept until it is delivered.", spool::Settings::read)
        },
        events: told,
        dns: dns::Settings::read(root),
        report: root.table("report", "Reports.", report::settings::Settings::read),
        lookups: Arc::new(read_lookups(root)),
        observe: observe::settings::Settings::read(root),
        control: root.table("control", "The socket of the operator's commands.", control::settings::Settings::read),
    };
    foreign::accept(root);
    check(root, &config);
    config
}

/// The directories and lists, built: what is wrong with them shows only then.
fn read_lookups(root: &Section<'_>) -> lookup::Lookups {
    let faults_before = root.fault_count();
    let settings = lookup::Settings::read(root);
    if root.fault_count() > faults_before || root.is_describing() {
        return lookup::Lookups::default();
    }
    lookup::Lookups::build(&settings).unwrap_or_else(|faults| {
        for fault in faults {
            let title = format!("wrong value for `{}`", fault.key);
            let told = root.fault_at_key(&fault.key, FaultKind::Value, title);
            root.report(told.found(fault.found).expected(fault.expected));
        }
        lookup::Lookups::default()
    })
}

/// What no single room can see.
fn check(root: &Section<'_>, config: &Config) {
    if root.is_describing() {
        return;
    }
    names::check(root, config);
    check_events(root, config);
    check_listeners(root, config);
    if !root.has_fault_under(&["server", "certificate"]) {
        check_tls(root, config);
    }
}

/// Events are told of what is on disk.
fn check_events(root: &Section<'_>, config: &Config) {
    let Some(first) = config.events.first() else { return };
    let mode = |listener: &&listener::Settings| listener.durability.unwrap_or(config.spool.durability);
    if let Some(listener) = config.listeners.iter().find(|listener| mode(listener) == spool::Durability::Memory) {
        let title = format!("listener `{}` has the durability memory, and there are events", listener.id);
        let fault = root.fault_in(&["events", &first.id, "type"], FaultKind::Doubtful, title);
        root.report(fault.label("events are told of what is on disk: with them, memory is the same as process"));
    }
}

fn check_listeners(root: &Section<'_>, config: &Config) {
    if config.listeners.is_empty() && root.fault_count() == 0 {
        let fault = Fault::new(FaultKind::Missing, "server.listener", "there is no listener")
            .expected("at least one [server.listener.<id>] with protocol smtp or lmtp");
        root.report(fault);
    }
    let mut bound: HashMap<SocketAddr, &str> = HashMap::new();
    for listener in &config.listeners {
        let at = |key| ["server", "listener", listener.id.as_str(), key];
        for address in &listener.bind {
            let other = bound.insert(*address, &listener.id).filter(|_| address.port() != 0);
            if let Some(other) = other {
                let title = format!("two listeners bind {address}");
                let mut fault = root.fault_in(&at("bind"), FaultKind::Conflict, title);
                fault = fault.label(format!("bound by listener `{other}` already"));
                root.report(fault);
            }
        }
        if listener.tls.implicit && !listener.tls.enable {
            let title = format!("listener `{}` speaks implicit TLS, and TLS is not enabled", listener.id);
            let fault = root.fault_in(&at("tls"), FaultKind::Conflict, title);
            root.report(fault.expected("tls.enable = true, or tls.implicit = false"));
        }
    }
}

/// The identity of the TLS server is made once, to see that it can be.
fn check_tls(root: &Section<'_>, config: &Config) {
    let tell = |fault: IdentityFault, place: Fault| {
        let title = format!("`{}` {}", place.key, fault.problem);
        root.report(Fault { title, ..place }.label("TLS cannot be spoken with it"));
    };
    let Ok(tickets) = Tickets::new() else { return };
    let identity = match Identity::load(&config.certificates, &config.server.hostname, tickets) {
        Ok(identity) => identity,
        Err(faults) => {
            for fault in faults {
                let id = fault.certificate.clone().unwrap_or_default();
                let place = root.fault_in(&["certificate", &id, fault.key], FaultKind::Value, "");
                tell(fault, place);
            }
            return;
        }
    };
    if identity.is_self_signed() && root.fault_count() == 0 {
        warn_of_self_signed(root, config);
    }
    for listener in config.listeners.iter().filter(|listener| listener.tls.enable) {
        for fault in identity.server_config(&listener.tls).err().unwrap_or_default() {
            let place = root.fault_in(&["server", "listener", &listener.id, "tls", fault.key], FaultKind::Value, "");
            tell(fault, place);
        }
    }
}

/// On loopback nobody expects more.
fn warn_of_self_signed(root: &Section<'_>, config: &Config) {
    let is_public = |listener: &&listener::Settings| {
        listener.tls.enable && listener.bind.iter().any(|address| !address.ip().to_canonical().is_loopback())
    };
    let public: Vec<&listener::Settings> = config.listeners.iter().filter(is_public).collect();
    let Some(first) = public.first() else { return };
    let names: Vec<String> = public.iter().map(|listener| format!("`{}`", listener.id)).collect();
    let title = format!("TLS on public listeners ({}) has a self-signed identity", names.join(", "));
    let fault = root.fault_in(&["server", "listener", &first.id, "bind"], FaultKind::Doubtful, title);
    root.report(fault.label("who verifies names does not believe it: give a [certificate.<id>] that somebody signed"));
}
