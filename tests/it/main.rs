//! The real binary on loopback: as a server for clients, as a client of servers, under an operator's hands.
//!
//! One test binary with a module per subject. Each test starts its own server in its own temporary
//! folder on its own ports, waits for facts (a reply, a file, a counter), never for time to pass.

mod bounds;
mod conversion;
mod crash;
mod damage;
mod delivering;
mod disks;
mod events;
mod faults;
mod harness;
mod hostile;
mod lending;
mod load;
mod local;
mod operator;
mod peers;
mod receiving;
mod relay;
mod start;
