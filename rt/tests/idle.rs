//! What an idle connection costs: counted in bytes of heap, not in resident pages, so that the
//! figure is the same on every machine.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use posthaste_rt::net::{Connection, Listener, SocketOptions, Stream};
use posthaste_rt::preflight::{Needs, preflight};
use posthaste_rt::{shard, task, time};

struct Counting;

static HEAP: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 1000;
/// Task, stream, read timeout, one pending poll of the ring. Measured: see the test's output.
const BYTES_MAX: isize = 1024;

#[test]
fn an_idle_connection_costs_less_than_a_kibibyte_of_heap() {
    preflight(Needs { shards: 1, descriptors: 2 * CONNECTIONS as u64 }).expect("descriptors");
    let each = shard::spawn(shard::cpus()[0], "idle", || async {
        let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), &SocketOptions::default()).expect("binds");
        let addr = listener.local_addr();
        let mut clients = Vec::with_capacity(CONNECTIONS + 100);
        // The first hundred size the tables that all share.
        let mut before = 0;
        for n in 0..CONNECTIONS + 100 {
            if n == 100 {
                time::sleep(Duration::from_millis(20)).await;
                before = HEAP.load(Ordering::Relaxed);
            }
            clients.push(TcpStream::connect(addr).expect("connects"));
            let accepted = listener.accept().await.expect("accepts").expect("not stopped");
            task::spawn(async move {
                let mut connection = Connection::from(Stream::from_accepted(accepted));
                connection.set_read_timeout(Some(Duration::from_secs(300)));
                let _ = connection.read_with(|| vec![0; 16384]).await;
            });
        }
        time::sleep(Duration::from_millis(20)).await;
        (HEAP.load(Ordering::Relaxed) - before) / CONNECTIONS as isize
    });
    let each = each.expect("starts").join().expect("ends");
    println!("{each} bytes of heap per idle connection");
    assert!(each < BYTES_MAX, "{each} bytes");
}
