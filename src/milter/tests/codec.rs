//! Packets: what is written is what libmilter reads, what is read is what a filter wrote, and the rest has a name.

use bytes::Bytes;

use super::super::codec::{Command, Decoder, Options, PacketFault, Response};
use super::super::testing::{encode, packet};
use proptest::prelude::*;

fn wire(command: Command<'_>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    command.encode(&mut out);
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

fn decoded(stream: &[u8]) -> Result<Vec<Response>, PacketFault> {
    let mut decoder = Decoder::default();
    decoder.push(stream);
    let mut all = Vec::new();
    while let Some(response) = decoder.next(1 << 20)? {
        all.push(response);
    }
    Ok(all)
}

#[test]
fn commands_are_written_as_mfdef_has_them() {
    let cases: &[(Command<'_>, &[u8])] = &[
        (Command::Abort, b"A"),
        (Command::Body(b"a\0b"), b"Ba\0b"),
        (Command::Connect { hostname: "mx.a", address: None }, b"Cmx.a\0U"),
        (
            Command::Connect { hostname: "mx.a", address: Some(([192, 0, 2, 1], 258).into()) },
            b"Cmx.a\x004\x01\x02192.0.2.1\0",
        ),
        (
            Command::Connect { hostname: "[::1]", address: "[2001:db8::1]:25".parse().ok() },
            b"C[::1]\x006\0\x192001:db8::1\0",
        ),
        (
            Command::Connect { hostname: "m", address: "[::ffff:192.0.2.1]:25".parse().ok() },
            b"Cm\x004\0\x19192.0.2.1\0",
        ),
        (Command::Data, b"T"),
        (Command::EndOfHeader, b"N"),
        (Command::EndOfMessage, b"E"),
        (Command::Header { name: b"Subject", value: b"a\r\n b\rc\n\td" }, b"LSubject\0a\n b\rc\n\td\0"),
        (Command::Helo("a.test"), b"Ha.test\0"),
        (Command::Mail(&["<>", "SIZE=1"]), b"M<>\0SIZE=1\0"),
        (Command::Options { version: 6, actions: 0x1ff, steps: 1 << 20 }, b"O\0\0\0\x06\0\0\x01\xff\0\x10\0\0"),
        (Command::Quit, b"Q"),
        (Command::QuitNext, b"K"),
        (Command::Rcpt(&["<a@b>"]), b"R<a@b>\0"),
        (Command::Unknown(b"XYZZY 1"), b"UXYZZY 1\0"),
    ];
    for (command, body) in cases {
        let wire = wire(*command);
        assert_eq!(wire[..4], (body.len() as u32).to_be_bytes(), "{command:?}");
        assert_eq!(wire[4..].escape_ascii().to_string(), body.escape_ascii().to_string(), "{command:?}");
    }
}

#[test]
fn a_nul_cannot_end_a_text_early() {
    assert_eq!(&wire(Command::Helo("a\0b"))[4..], b"Ha?b\0");
    assert_eq!(&wire(Command::Header { name: b"X\0", value: b"\0Y" })[4..], b"LX?\0?Y\0");
    assert_eq!(&wire(Command::Mail(&["<a\0@b>"]))[4..], b"M<a?@b>\0");
}

#[test]
fn what_is_no_packet_is_named() {
    let cases: &[(&[u8], PacketFault)] = &[
        (b"\0\0\0\0", PacketFault::Empty),
        (b"\x7f\0\0\0", PacketFault::TooLong { length: 0x7f00_0000, max: 1 << 20 }),
        (&packet(b'?', b""), PacketFault::Unknown(b'?')),
        (&packet(b'c', b"x"), PacketFault::Trailing(b'c')),
        (&packet(b'h', b"name\0value"), PacketFault::Truncated(b'h')),
        (&packet(b'h', b"name\0value\0more"), PacketFault::Trailing(b'h')),
        (&packet(b'i', b"\0\0\x01"), PacketFault::Truncated(b'i')),
        (&packet(b'O', b"\0\0\0\x06\0\0\0\0\0\0\0"), PacketFault::Truncated(b'O')),
        (&packet(b'O', b"\0\0\0\x06\0\0\0\0\0\0\0\0\0\0\0\x01i"), PacketFault::Truncated(b'O')),
        (&packet(b'y', b""), PacketFault::Truncated(b'y')),
        (&packet(b'+', b"<a@b>\0NOTIFY=NEVER\0"), PacketFault::Trailing(b'+')),
    ];
    for (stream, fault) in cases {
        assert_eq!(decoded(stream), Err(*fault), "{}", stream.escape_ascii());
    }
}

fn text() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(1u8..=255, 0..40).prop_map(Bytes::from)
}

fn response() -> impl Strategy<Value = Response> {
    let octets = prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let plain = prop::sample::select(vec![
        Response::Continue,
        Response::Accept,
        Response::Reject,
        Response::TempFail,
        Response::Discard,
        Response::Skip,
        Response::Progress,
        Response::Shutdown,
        Response::ConnectionFailure,
    ]);
    let symbols = prop::collection::vec((any::<u32>(), text()), 0..3);
    prop_oneof![
        plain,
        (any::<u32>(), any::<u32>(), any::<u32>(), symbols).prop_map(|(version, actions, steps, symbols)| {
            Response::Options(Options { version, actions, steps, symbols })
        }),
        text().prop_map(Response::ReplyCode),
        (text(), text()).prop_map(|(name, value)| Response::AddHeader { name, value }),
        (any::<u32>(), text(), text()).prop_map(|(index, name, value)| Response::InsertHeader { index, name, value }),
        (any::<u32>(), text(), text()).prop_map(|(index, name, value)| Response::ChangeHeader { index, name, value }),
        octets.prop_map(Response::ReplaceBody),
        (text(), prop::option::of(text())).prop_map(|(path, parameters)| Response::ChangeFrom { path, parameters }),
        (text(), prop::option::of(text())).prop_map(|(path, parameters)| Response::AddRecipient { path, parameters }),
        text().prop_map(Response::DeleteRecipient),
        text().prop_map(Response::Quarantine),
    ]
}

proptest! {
    #[test]
    fn what_a_filter_encodes_is_what_we_decode(all in prop::collection::vec(response(), 0..8)) {
        let stream: Vec<u8> = all.iter().flat_map(encode).collect();
        prop_assert_eq!(decoded(&stream), Ok(all));
    }

    #[test]
    fn cuts_change_nothing(all in prop::collection::vec(response(), 0..5), cuts in prop::collection::vec(1usize..40, 1..40)) {
        let stream: Vec<u8> = all.iter().flat_map(encode).collect();
        let (mut decoder, mut rest, mut found) = (Decoder::default(), &stream[..], Vec::new());
        for cut in cuts.iter().cycle().take(stream.len() + 1) {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoder.push(now);
            while let Some(response) = decoder.next(1 << 20).expect("sound packets") {
                found.push(response);
            }
            rest = later;
        }
        prop_assert_eq!(found, all);
        prop_assert_eq!(decoder.pending_bytes(), 0);
    }

    #[test]
    fn anything_is_a_response_or_a_fault(stream in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoded(&stream);
        let (code, data) = stream.split_first().map_or((0, &stream[..]), |(code, data)| (*code, data));
        let _ = decoded(&packet(code, data));
    }
}
