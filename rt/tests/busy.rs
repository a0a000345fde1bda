//! A busy shard: while one task always wants to run, the others are served. The spinning task
//! ends when the other has been, so a fault shows as the bound being hit, not as a slow machine.

use std::cell::Cell;
use std::future::Future;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use posthaste_rt::bridge::ControlPlane;
use posthaste_rt::net::{Listener, SocketOptions, Stream};
use posthaste_rt::{mesh, shard, task, time};

/// Far beyond any scheduling delay, far below for ever.
const BOUND: Duration = Duration::from_secs(30);

/// Runs `served` beside a task that spins until it is done; gives whether it was in time.
async fn beside_a_spinning_task(start: impl FnOnce(Rc<Cell<bool>>)) -> bool {
    let done = Rc::new(Cell::new(false));
    let seen = done.clone();
    let spinning = task::spawn_joined(async move {
        let began = Instant::now();
        while !seen.get() && began.elapsed() < BOUND {
            // The work of one turn of a loop over bytes.
            std::hint::black_box((0..200).sum::<u64>());
            task::yield_if_needed().await;
        }
        seen.get()
    });
    start(done);
    spinning.await.expect("no panic")
}

fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(build: impl FnOnce() -> F + Send + 'static) -> T {
    shard::spawn(shard::cpus()[0], "busy", build).expect("a shard starts").join().expect("and ends")
}

#[test]
fn a_message_of_another_shard_is_noticed() {
    let (address, mut receiver) = mesh::channel::<u8>();
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        address.try_send(7).expect("room");
    });
    let served = on_shard(|| async move {
        beside_a_spinning_task(move |done| {
            task::spawn_urgent(async move {
                let mut batch = Vec::new();
                receiver.receive(&mut batch, 1).await;
                done.set(batch == [7]);
            });
        })
        .await
    });
    sender.join().expect("a thread ends");
    assert!(served);
}

#[test]
fn an_answer_of_the_control_plane_is_noticed_by_an_ordinary_task() {
    let control = ControlPlane::start(1).expect("tokio starts");
    let handle = control.handle();
    assert!(on_shard(|| async move {
        beside_a_spinning_task(move |done| {
            task::spawn(async move {
                let answer = handle.spawn(BOUND, async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    7
                });
                done.set(answer.await == Ok(7));
            });
        })
        .await
    }));
}

#[test]
fn received_bytes_and_timers_are_noticed() {
    assert!(on_shard(|| async {
        let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), &SocketOptions::default()).expect("binds");
        let addr = listener.local_addr();
        let client = std::thread::spawn(move || {
            let mut client = TcpStream::connect(addr).expect("connects");
            std::thread::sleep(Duration::from_millis(20));
            client.write_all(b"x").expect("sent");
            client
        });
        let accepted = listener.accept().await.expect("accepts").expect("not stopped");
        let mut stream = Stream::from_accepted(accepted);
        let served = beside_a_spinning_task(move |done| {
            task::spawn(async move {
                let read = stream.read(&mut [0; 8]).await.expect("read");
                time::sleep(Duration::from_millis(20)).await;
                done.set(read == 1);
            });
        })
        .await;
        drop(client.join());
        served
    }));
}
