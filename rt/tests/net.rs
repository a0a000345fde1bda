//! Sockets on real shards over loopback.

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use posthaste_rt::net::{Accepted, Connection, Listener, SocketOptions, Stream, bind, connect};
use posthaste_rt::{directory, mesh, shard, task, time};

const LONG: Duration = Duration::from_secs(30);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(build: impl FnOnce() -> F + Send + 'static) -> T {
    shard::spawn(shard::cpus()[0], "net", build).expect("a shard starts").join().expect("and ends")
}

/// A connected pair on this shard: ours, and a blocking one for the test's thread.
async fn pair() -> (Stream, TcpStream) {
    let mut listener = Listener::bind(loopback(), &SocketOptions::default()).expect("binds");
    let addr = listener.local_addr();
    let client = std::thread::spawn(move || TcpStream::connect(addr).expect("connects"));
    let accepted = listener.accept().await.expect("accepts").expect("not stopped");
    (Stream::from_accepted(accepted), client.join().expect("a thread ends"))
}

#[test]
fn bytes_go_both_ways_and_an_end_of_stream_is_seen() {
    on_shard(|| async {
        let (mut ours, mut theirs) = pair().await;
        assert_eq!(ours.peer_addr(), theirs.local_addr().expect("an address"));
        assert_eq!(ours.local_addr().expect("an address"), theirs.peer_addr().expect("an address"));
        theirs.write_all(b"EHLO a").expect("sent");
        ours.readable().await.expect("readable");
        let mut buf = [0; 64];
        assert_eq!(ours.read(&mut buf).await.expect("read"), 6);
        assert_eq!(&buf[..6], b"EHLO a");
        let mut pieces = [IoSlice::new(b"250-"), IoSlice::new(b""), IoSlice::new(b"ok\r\n")];
        ours.write_all_vectored(&mut pieces).await.expect("written");
        ours.shutdown_write().expect("shut");
        let mut reply = String::new();
        theirs.read_to_string(&mut reply).expect("read");
        assert_eq!(reply, "250-ok\r\n");
        drop(theirs);
        ours.readable().await.expect("the end is readable");
        assert_eq!(ours.read(&mut buf).await.expect("read"), 0);
    });
}

#[test]
fn a_large_write_to_a_slow_reader_arrives_whole() {
    const SIZE: usize = 20_000_000;
    let sum = on_shard(|| async {
        let (mut ours, mut theirs) = pair().await;
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).expect("read");
            all
        });
        let (head, body) = (vec![1u8; SIZE / 2], vec![2u8; SIZE / 2]);
        ours.write_all_vectored(&mut [IoSlice::new(&head), IoSlice::new(&body)]).await.expect("written");
        drop(ours);
        // Joined off the shard, which still has the close to carry out.
        directory::unblock(move || Ok(reader.join().expect("a thread ends"))).await.expect("joined")
    });
    assert_eq!(sum.len(), SIZE);
    assert!(sum[..SIZE / 2].iter().all(|byte| *byte == 1) && sum[SIZE / 2..].iter().all(|byte| *byte == 2));
}

#[test]
fn an_idle_read_holds_no_buffer() {
    struct Buffer(Vec<u8>, std::rc::Rc<std::cell::Cell<usize>>);
    impl AsMut<[u8]> for Buffer {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
    impl Drop for Buffer {
        fn drop(&mut self) {
            self.1.set(self.1.get() - 1);
        }
    }
    on_shard(|| async {
        let (mut ours, mut theirs) = pair().await;
        let held = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = held.clone();
        let reading = task::spawn_joined(async move {
            let take = || {
                count.set(count.get() + 1);
                Buffer(vec![0; 16384], count.clone())
            };
            let (buffer, read) = ours.read_with(take).await.expect("read");
            buffer.0[..read].to_vec()
        });
        time::sleep(Duration::from_millis(5)).await;
        assert_eq!(held.get(), 0, "no buffer while nothing came");
        theirs.write_all(b"NOOP\r\n").expect("sent");
        assert_eq!(reading.await.expect("no panic"), b"NOOP\r\n");
        assert_eq!(held.get(), 0, "and it was given back");
    });
}

#[test]
fn an_aborted_read_loses_no_byte_and_the_next_one_has_its_own_time() {
    on_shard(|| async {
        let (mut ours, mut theirs) = pair().await;
        ours.set_read_timeout(Some(Duration::from_millis(300)));
        let mut buf = [0; 16];
        // Dropped again and again while it waits, past the time of the first one.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(600) {
            assert_eq!(
                time::timeout(Duration::from_millis(50), ours.read(&mut buf)).await.map(|_| ()),
                Err(time::Elapsed)
            );
        }
        let sender = std::thread::spawn(move || {
            theirs.write_all(b"late").expect("sent");
            theirs
        });
        assert_eq!(ours.read(&mut buf).await.expect("a time of its own"), 4);
        assert_eq!(&buf[..4], b"late");
        let _theirs = sender.join();
    });
}

#[test]
fn a_silent_peer_times_out_not_before_its_time() {
    let waited = on_shard(|| async {
        let (mut ours, _theirs) = pair().await;
        ours.set_read_timeout(Some(Duration::from_millis(200)));
        let began = Instant::now();
        let error = ours.read(&mut [0; 16]).await.expect_err("silent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        began.elapsed()
    });
    assert!(waited >= Duration::from_millis(200), "{waited:?}");
}

#[test]
fn a_peer_that_does_not_read_times_out() {
    on_shard(|| async {
        let (mut ours, _theirs) = pair().await;
        ours.set_write_timeout(Some(Duration::from_millis(100)));
        let error = ours.write_all(&vec![0; 50_000_000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn an_abort_resets() {
    on_shard(|| async {
        let (ours, mut theirs) = pair().await;
        ours.abort();
        let error = directory::unblock(move || theirs.read(&mut [0; 16])).await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_cancelled_accept_loses_no_connection() {
    const CLIENTS: usize = 300;
    let served = on_shard(|| async {
        let mut listener = Listener::bind(loopback(), &SocketOptions::default()).expect("binds");
        let addr = listener.local_addr();
        let clients = std::thread::spawn(move || {
            let greeted = |_| {
                let mut client = TcpStream::connect(addr).expect("connects");
                client.set_read_timeout(Some(LONG)).expect("set");
                let mut greeting = [0; 3];
                client.read_exact(&mut greeting).expect("greeted: the connection was not lost");
            };
            (0..CLIENTS).for_each(greeted);
        });
        let mut served = 0;
        while served < CLIENTS {
            // Cancelled whenever nothing came within a moment: most waits end that way.
            if let Ok(accepted) = time::timeout(Duration::from_micros(200), listener.accept()).await {
                let accepted = accepted.expect("accepts").expect("not stopped");
                let mut stream = Stream::from_accepted(accepted);
                stream.write_all(b"220").await.expect("greets");
                served += 1;
            }
        }
        let greeted = directory::unblock(move || Ok(clients.join().is_ok())).await.expect("joined");
        assert!(greeted, "every client was greeted");
        served
    });
    assert_eq!(served, CLIENTS);
}

#[test]
fn a_stopped_listener_serves_whom_the_kernel_had_accepted() {
    const CLIENTS: usize = 50;
    on_shard(|| async {
        let listener = Listener::bind(loopback(), &SocketOptions::default()).expect("binds");
        let (addr, stop) = (listener.local_addr(), listener.stopper());
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| TcpStream::connect(addr).expect("connects")).collect();
        stop.throw();
        let mut taken: Vec<Accepted> = Vec::new();
        listener.serve(|accepted| taken.push(accepted)).await.expect("drained");
        assert_eq!(taken.len(), CLIENTS);
        // A child that another test is just starting may hold the socket for a moment.
        while TcpStream::connect(addr).is_ok() {
            time::sleep(Duration::from_millis(1)).await;
        }
        drop(clients);
    });
}

#[test]
fn a_stop_ends_a_waiting_listener() {
    on_shard(|| async {
        let listener = Listener::bind(loopback(), &SocketOptions::default()).expect("binds");
        let stop = listener.stopper();
        let serving = task::spawn_joined(listener.serve(|_| {}));
        time::sleep(Duration::from_millis(5)).await;
        stop.throw();
        serving.await.expect("no panic").expect("no error");
    });
}

#[test]
fn several_shards_share_a_port() {
    let first = bind(loopback(), &SocketOptions::default()).expect("binds");
    let addr = first.local_addr();
    let second = bind(addr, &SocketOptions::default()).expect("binds the same port");
    let without = SocketOptions { reuse_port: false, ..SocketOptions::default() };
    assert_eq!(bind(addr, &without).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
    let (done, count) = std::sync::mpsc::channel();
    let (stops, shards): (Vec<_>, Vec<_>) = [first, second]
        .into_iter()
        .map(|bound| {
            let done = done.clone();
            let (stop, mut stopped) = mesh::channel::<()>();
            let shard = shard::spawn(shard::cpus()[0], "shared", move || async move {
                let listener = Listener::from_bound(bound);
                let stop = listener.stopper();
                let serving = task::spawn_joined(listener.serve(move |_| done.send(()).expect("counted")));
                stopped.receive(&mut Vec::new(), 1).await;
                stop.throw();
                serving.await.expect("no panic").expect("no error");
            });
            (stop, shard.expect("starts"))
        })
        .unzip();
    let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(addr).expect("connects")).collect();
    (0..64).for_each(|_| count.recv_timeout(LONG).expect("accepted by one of them"));
    drop((clients, stops));
    shards.into_iter().for_each(|shard| shard.join().expect("ends"));
}

#[test]
fn an_accepted_socket_moves_to_another_shard_before_its_first_byte() {
    let (to_other, moved) = std::sync::mpsc::channel::<std::os::fd::OwnedFd>();
    let client = on_shard(move || async move {
        let (ours, theirs) = pair().await;
        to_other.send(ours.into_fd().expect("given away")).expect("sent");
        theirs
    });
    let greeting = std::thread::spawn(move || {
        let mut client = client;
        client.write_all(b"x").expect("sent");
        let mut greeting = [0; 3];
        client.read_exact(&mut greeting).expect("greeted");
        greeting
    });
    on_shard(move || async move {
        let mut stream = Stream::from_fd(moved.recv().expect("received")).expect("a socket");
        let mut byte = [0; 1];
        assert_eq!(stream.read(&mut byte).await.expect("read"), 1);
        stream.write_all(b"220").await.expect("greets");
    });
    assert_eq!(&greeting.join().expect("a thread ends"), b"220");
}

#[test]
fn an_outgoing_connection_has_the_source_it_was_given() {
    on_shard(|| async {
        let mut listener = Listener::bind(loopback(), &SocketOptions::default()).expect("binds");
        let source: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
        let addr = listener.local_addr();
        let (out, accepted) = futures_lite::future::zip(connect(addr, Some(source), LONG), listener.accept()).await;
        let (mut out, accepted) = (out.expect("connects"), accepted.expect("accepts").expect("not stopped"));
        assert_eq!(accepted.peer_addr().ip(), source);
        let mut server = Stream::from_accepted(accepted);
        server.write_all(b"220 hello").await.expect("greets");
        let mut buf = [0; 64];
        assert_eq!(out.read(&mut buf).await.expect("read"), 9);
    });
}

#[test]
fn a_refused_connect_says_so_and_a_foreign_source_too() {
    on_shard(|| async {
        let unused = std::net::TcpListener::bind(loopback()).expect("binds").local_addr().expect("an address");
        let error = connect(unused, None, LONG).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let foreign: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        let error = connect(unused, Some(foreign), LONG).await.expect_err("not ours");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn a_connect_that_nobody_answers_times_out() {
    on_shard(|| async {
        // A listener whose backlog is full answers no further SYN.
        let options = SocketOptions { backlog: 0, ..SocketOptions::default() };
        let listener = bind(loopback(), &options).expect("binds");
        let mut filling = Vec::new();
        let error = loop {
            match connect(listener.local_addr(), None, Duration::from_millis(300)).await {
                Ok(stream) => filling.push(stream),
                Err(error) => break error,
            }
            assert!(filling.len() < 100, "the backlog is full at some point");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_pooled_connection_knows_when_it_is_stale() {
    on_shard(|| async {
        let (ours, mut theirs) = pair().await;
        let mut pooled = Connection::from(ours);
        assert!(!pooled.is_stale().await);
        theirs.write_all(b"421 bye\r\n").expect("sent");
        while !pooled.is_stale().await {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_thousand_dropped_connections_leave_no_descriptor() {
    // In a process of its own, because other tests open descriptors meanwhile.
    if std::env::var_os("RT_COUNT_DESCRIPTORS").is_none() {
        let own = std::env::current_exe().expect("a path");
        let output = std::process::Command::new(own)
            .args(["--exact", "a_thousand_dropped_connections_leave_no_descriptor"])
            .env("RT_COUNT_DESCRIPTORS", "1")
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let (before, after) = on_shard(|| async {
        let mut listener = Listener::bind(loopback(), &SocketOptions::default()).expect("binds");
        let addr = listener.local_addr();
        let before = directory::open_descriptors_blocking().expect("counted");
        for round in 0..20 {
            let clients =
                directory::unblock(move || (0..50).map(|_| TcpStream::connect(addr)).collect::<io::Result<Vec<_>>>());
            let clients = clients.await.expect("connect");
            for n in 0..50 {
                let accepted = listener.accept().await.expect("accepts").expect("not stopped");
                match (round + n) % 5 {
                    0 => drop(accepted),
                    1 => drop(Stream::from_accepted(accepted)),
                    2 => Stream::from_accepted(accepted).abort(),
                    3 => {
                        let mut stream = Stream::from_accepted(accepted);
                        stream.set_read_timeout(Some(LONG));
                        let _ = time::timeout(Duration::from_micros(50), stream.read(&mut [0; 16])).await;
                    }
                    _ => task::spawn(async move {
                        let _ = Stream::from_accepted(accepted).read(&mut [0; 16]).await;
                    }),
                }
            }
            drop(clients);
        }
        let mut after = usize::MAX;
        let began = Instant::now();
        while after > before && began.elapsed() < LONG {
            time::sleep(Duration::from_millis(10)).await;
            after = directory::open_descriptors_blocking().expect("counted");
        }
        (before, after)
    });
    assert_eq!(after, before);
}

#[test]
fn an_accepted_socket_is_not_inherited_by_a_child() {
    on_shard(|| async {
        let (ours, theirs) = pair().await;
        let output = directory::unblock(|| std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output());
        let output = output.await.expect("ls runs");
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success());
        assert!(!listed.contains("socket:"), "{listed}");
        drop((ours, theirs));
    });
}
