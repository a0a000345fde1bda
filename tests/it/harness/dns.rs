//! A name server for tests: a fixed zone over UDP.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};

/// What a name has.
#[derive(Debug, Clone, Copy)]
pub enum Data {
    /// An address.
    A([u8; 4]),
    /// A mail exchanger.
    Mx(u16, &'static str),
    /// The name exists and has nothing of the kind.
    Nothing,
    /// The server fails.
    Fails,
}

/// A running name server; its thread ends with the process.
pub struct Dns {
    /// Where it listens.
    pub port: u16,
}

impl Dns {
    /// Serves these records; other names do not exist.
    pub fn start(records: &[(&'static str, Data)]) -> Dns {
        let mut zone: HashMap<&str, Vec<Data>> = HashMap::new();
        for (name, data) in records {
            zone.entry(name).or_default().push(*data);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((n, from)) = socket.recv_from(&mut query) {
                let _ = socket.send_to(&answer(&zone, &query[..n]), from); // who asked may be gone
            }
        });
        Dns { port }
    }
}

fn answer(zone: &HashMap<&str, Vec<Data>>, query: &[u8]) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let found = zone.get(labels.join(".").as_str());
    let mut records: Vec<(u16, Vec<u8>)> = Vec::new();
    for data in found.into_iter().flatten() {
        match data {
            Data::A(octets) if kind == 1 => records.push((1, Ipv4Addr::from(*octets).octets().to_vec())),
            Data::Mx(preference, host) if kind == 15 => {
                records.push((15, [&preference.to_be_bytes()[..], &encoded(host)].concat()));
            }
            _ => {}
        }
    }
    let fails = found.is_some_and(|all| all.iter().any(|data| matches!(data, Data::Fails)));
    let code: u16 = if fails {
        2
    } else if found.is_none() {
        3
    } else {
        0
    };
    let needs_soa = records.is_empty() && !fails;
    let counts = [0x8480 | code, 1, records.len() as u16, u16::from(needs_soa), 0];
    let mut out = query[..2].to_vec();
    out.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    out.extend(&query[12..at + 5]);
    let mut record = |name: &[u8], kind: u16, data: &[u8]| {
        out.extend(name);
        out.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
        out.extend(60u32.to_be_bytes());
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    };
    for (kind, data) in &records {
        record(&[0xc0, 12], *kind, data);
    }
    if needs_soa {
        let times = [1u32, 60, 60, 60, 60].map(u32::to_be_bytes).concat();
        record(&encoded("test"), 6, &[encoded("ns.test"), encoded("host.test"), times].concat());
    }
    out
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut out: Vec<u8> = labels.flat_map(|l| std::iter::once(l.len() as u8).chain(l.bytes())).collect();
    out.push(0);
    out
}
