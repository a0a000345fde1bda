//! Files through the ring, on a real filesystem.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_lite::future::poll_once;
use posthaste_rt::file::{Access, File, ZERO_STRIDE_BYTES};
use posthaste_rt::{clock, shard};

fn in_directory<F: Future<Output = ()> + 'static>(test: impl FnOnce(PathBuf) -> F + Send + 'static) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    shard::spawn(shard::cpus()[0], "file", move || test(path)).expect("starts").join().expect("ends");
}

#[test]
fn a_zeroed_file_is_made_in_strides_at_the_pace_it_is_told() {
    in_directory(|dir| async move {
        let path = dir.join("segment");
        let (mut strides, began) = (0, clock::now());
        let pace = |took: Duration| {
            assert!(!took.is_zero(), "a stride takes time");
            strides += 1;
            Duration::from_millis(2)
        };
        let file = File::create_zeroed(&path, 4 * ZERO_STRIDE_BYTES + 5, pace).await.expect("created");
        assert_eq!(strides, 5);
        assert!(clock::now() - began >= 4 * 2000, "it paused after each but the last");
        assert_eq!(file.size().await.expect("asked"), 4 * ZERO_STRIDE_BYTES + 5);
        let tail = file.read_at(4 * ZERO_STRIDE_BYTES + 1, 100).await.expect("read");
        assert_eq!(&*tail, [0; 4]);
        file.close().await.expect("closed");
        let again = File::create_zeroed(&path, 10, |_| Duration::ZERO).await.expect_err("exists");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    });
}

#[test]
fn what_was_written_is_read_back() {
    in_directory(|dir| async move {
        let path = dir.join("data");
        let file = File::open(&path, Access::CreateNew).await.expect("created");
        file.write_all_at(b"hello world".to_vec(), 4096).await.expect("written");
        file.write_all_at(b"HELLO".to_vec(), 4096).await.expect("written over");
        file.sync().await.expect("synced");
        assert_eq!(&*file.read_at(4096, 64).await.expect("read"), b"HELLO world");
        assert_eq!(file.read_at(1 << 30, 64).await.expect("beyond the end").len(), 0);
        file.close().await.expect("closed");
        let file = File::open(&path, Access::Read).await.expect("opened");
        let refused = file.write_all_at(b"x".to_vec(), 0).await.expect_err("read only");
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
        file.close().await.expect("closed");
    });
}

#[test]
fn errors_keep_their_number() {
    in_directory(|dir| async move {
        let missing = File::open(&dir.join("missing"), Access::Read).await.expect_err("missing");
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        let full = File::open("/dev/full".as_ref(), Access::ReadWrite).await.expect("opened");
        let error = full.write_all_at(vec![1; 10], 0).await.expect_err("full");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "full is told from sick by its number");
        full.close().await.expect("closed");
    });
}

#[test]
fn a_dropped_write_is_written_whole_or_not_at_all() {
    in_directory(|dir| async move {
        let file = File::create_zeroed(&dir.join("segment"), 1 << 20, |_| Duration::ZERO).await.expect("created");
        for round in 1..=50u8 {
            {
                let mut writing = Box::pin(file.write_at(vec![round; 65536], 0));
                assert!(poll_once(&mut writing).await.is_none(), "under way");
            }
            // The memory of the dropped buffer is taken by others meanwhile.
            let others: Vec<Vec<u8>> = (0..8).map(|_| vec![0xee; 65536]).collect();
            file.sync().await.expect("synced");
            let seen = file.read_at(0, 65536).await.expect("read");
            assert!(seen.iter().all(|byte| *byte == seen[0]) && seen[0] != 0xee, "round {round}");
            drop(others);
        }
        file.close().await.expect("closed");
    });
}

#[test]
fn writes_of_one_file_may_be_under_way_together() {
    in_directory(|dir| async move {
        let file = File::create_zeroed(&dir.join("segment"), 4 << 20, |_| Duration::ZERO).await.expect("created");
        let write = |n: u8| file.write_all_at(vec![n; 1 << 20], u64::from(n) << 20);
        let ((a, b), (c, d)) = futures_lite::future::zip(
            futures_lite::future::zip(write(0), write(1)),
            futures_lite::future::zip(write(2), write(3)),
        )
        .await;
        [a, b, c, d].into_iter().for_each(|done| done.expect("written"));
        for n in 0..4u8 {
            let seen = file.read_at(u64::from(n) << 20, 1 << 20).await.expect("read");
            assert!(seen.len() == 1 << 20 && seen.iter().all(|byte| *byte == n));
        }
        file.close().await.expect("closed");
    });
}
