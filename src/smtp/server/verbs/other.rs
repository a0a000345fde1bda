//! The verbs that move no mail: RSET, NOOP, HELP, VRFY, EXPN, QUIT, STARTTLS, XCLIENT, and those we do not serve.

use std::net::SocketAddr;

use compact_str::CompactString;

use crate::base::WallTime;
use crate::smtp::command::{Command, XclientAttribute};
use crate::smtp::server::client::Hello;
use crate::smtp::server::dialogue::{Dialogue, Errand, Open};
use crate::smtp::server::state::State;
use crate::smtp::server::words;

/// RSET (RFC 5321 §4.1.1.5): the transaction is dropped.
pub(in crate::smtp::server) fn rset(d: &mut Dialogue, state: State, _: Command<'_>, _: WallTime) -> State {
    d.say(state.reset(), words::ok())
}

/// NOOP.
pub(in crate::smtp::server) fn noop(d: &mut Dialogue, state: State, _: Command<'_>, _: WallTime) -> State {
    d.say(state, words::ok())
}

/// HELP.
pub(in crate::smtp::server) fn help(d: &mut Dialogue, state: State, _: Command<'_>, _: WallTime) -> State {
    d.say(state, words::help())
}

/// QUIT.
pub(in crate::smtp::server) fn quit(d: &mut Dialogue, _: State, _: Command<'_>, _: WallTime) -> State {
    d.counts.has_quit = true;
    d.say(State::Closing, words::bye())
}

/// VRFY (RFC 5321 §3.5.1): asked only where it is switched on, so that nobody enumerates users by it.
pub(in crate::smtp::server) fn vrfy(d: &mut Dialogue, state: State, command: Command<'_>, _: WallTime) -> State {
    match command {
        Command::Vrfy(text) if d.offers.extensions.vrfy => {
            d.open = Some(Open::Vrfy(CompactString::new(text)));
            state
        }
        _ => d.say(state, words::vrfy_disabled()),
    }
}

/// EXPN.
pub(in crate::smtp::server) fn expn(d: &mut Dialogue, state: State, command: Command<'_>, _: WallTime) -> State {
    match command {
        Command::Expn(text) if d.offers.extensions.expn => {
            d.open = Some(Open::Expn(CompactString::new(text)));
            state
        }
        _ => d.say(state, words::expn_disabled()),
    }
}

/// What is known and never served.
pub(in crate::smtp::server) fn not_implemented(d: &mut Dialogue, state: State, _: Command<'_>, _: WallTime) -> State {
    d.fault(state, words::not_implemented())
}

/// STARTTLS (RFC 3207 §4).
pub(in crate::smtp::server) fn starttls(d: &mut Dialogue, state: State, _: Command<'_>, _: WallTime) -> State {
    if d.client.tls.is_some() {
        return d.fault(state, words::already_tls());
    }
    if !d.offers.extensions.starttls {
        return d.fault(state, words::tls_unavailable());
    }
    d.errand = Some(Errand::StartTls);
    d.say(State::Connected, words::ready_for_tls())
}

/// XCLIENT: a trusted proxy says who the client is, and the session begins anew for that client.
pub(in crate::smtp::server) fn xclient(d: &mut Dialogue, state: State, command: Command<'_>, _: WallTime) -> State {
    let Command::Xclient(arguments) = command else { return d.fault(state, words::unknown_command()) };
    if !d.client.may_xclient {
        return d.fault(state, words::xclient_refused());
    }
    let client = &mut *d.client;
    client.helo = None;
    client.hello = None;
    let (mut remote, mut local) = (client.remote, client.local);
    for attribute in arguments.attributes() {
        match attribute {
            XclientAttribute::Address(Some(ip)) => remote = SocketAddr::new(ip, remote.port()),
            XclientAttribute::Port(Some(port)) => remote.set_port(port),
            XclientAttribute::DestinationAddress(Some(ip)) => local = SocketAddr::new(ip, local.port()),
            XclientAttribute::DestinationPort(Some(port)) => local.set_port(port),
            XclientAttribute::Name(name) => client.ptr = name.map(|name| name.decode()),
            XclientAttribute::Helo(name) => client.helo = name.map(|name| name.decode()),
            XclientAttribute::Login(login) => client.authenticated_as = login.map(|login| login.decode()),
            XclientAttribute::IsEsmtp(is_esmtp) => client.hello = is_esmtp.then_some(Hello::Ehlo),
            XclientAttribute::Address(None)
            | XclientAttribute::Port(None)
            | XclientAttribute::DestinationAddress(None)
            | XclientAttribute::DestinationPort(None) => {}
        }
    }
    client.remote = remote;
    client.local = local;
    d.open = Some(Open::Connect);
    State::Connected
}
