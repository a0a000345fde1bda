//! The fuzz targets on stable: every file of their corpora, and seeded mutations of them.
//!
//! `POSTHASTE_FUZZ_ROUNDS` sets how many mutations of each file are tried (200 unless told).

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/bodies.rs"]
mod bodies;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The corpus of a target, in the order of its file names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// What has broken parsers of mail before.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\0",
    b"\xff",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"@",
    b" ",
    b"=",
    b"+0A",
    b"250-",
    b"\xc3\xb6",
    b"[IPv6:::1]",
    b"99999999999999999999",
    b";",
    b",",
    b":",
    b"\t",
    b"\x80",
];

fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(4) {
        let (at, end) = (random.below(out.len() + 1), random.below(out.len() + 1));
        let (at, end) = (at.min(end), at.max(end));
        match random.below(6) {
            0 if !out.is_empty() => {
                let at = random.below(out.len());
                out[at] ^= 1 << random.below(8);
            }
            1 => drop(out.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            2 => drop(out.drain(at..end)),
            3 => {
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            4 => drop(out.splice(at..end, other.iter().copied().take(random.below(other.len() + 1)))),
            _ => out.truncate(end),
        }
        out.truncate(64 * 1024);
    }
    out
}

/// Shows the input of a run that panicked.
struct ShowOnPanic<'a>(&'a str, &'a str, &'a [u8]);

impl Drop for ShowOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, from {}: b\"{}\"", self.0, self.1, self.2.escape_ascii());
        }
    }
}

fn try_input(target: &str, from: &str, input: &[u8]) {
    let _shown = ShowOnPanic(target, from, input);
    bodies::run(target, input);
}

#[test]
fn corpora_and_mutations_hold() {
    let rounds = std::env::var("POSTHASTE_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200usize);
    for (number, (target, _)) in bodies::TARGETS.iter().enumerate() {
        let files = corpus(target);
        assert!(!files.is_empty(), "no corpus for {target}");
        let mut random = Random(0x9E37_79B9_7F4A_7C15 + number as u64);
        try_input(target, "nothing", b"");
        for (name, input) in &files {
            try_input(target, name, input);
            for round in 0..rounds {
                let other = &files[random.below(files.len())].1;
                let mutated = mutate(input, other, &mut random);
                try_input(target, &format!("{name}, round {round}"), &mutated);
            }
        }
    }
}

#[test]
fn every_body_is_a_target_of_cargo_fuzz() {
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).expect("a manifest");
    for (target, _) in bodies::TARGETS {
        let file = format!("fuzz_targets/{target}.rs");
        let text = fs::read_to_string(fuzz_folder().join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(text.contains(&format!("bodies::run(\"{target}\", input)")), "{file}");
        assert!(manifest.contains(&format!("path = \"{file}\"")), "no [[bin]] for {target}");
    }
    let targets = fs::read_dir(fuzz_folder().join("fuzz_targets")).expect("targets").count();
    assert_eq!(targets, bodies::TARGETS.len(), "a target without a body that runs here");
}
