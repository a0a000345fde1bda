//! Filters that hang, die or talk nonsense over a real socket, after every number of answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use posthaste::milter::{Event, Failure, OnFailure, Settings, Timeouts, Verdict};

use crate::actions::{everything, facts};
use crate::driver::{Mail, Session, transaction};

/// How a filter ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Hangs,
    Closes,
    ClosesInAPacket,
    SaysNonsense,
    AnnouncesTooMuch,
}

const ENDINGS: [Ending; 5] =
    [Ending::Hangs, Ending::Closes, Ending::ClosesInAPacket, Ending::SaysNonsense, Ending::AnnouncesTooMuch];

/// A filter that says CONTINUE so many times, the negotiation counted, and then ends; gives its port.
fn filter(answers: usize, ending: Ending) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            let _ = serve(stream, answers, ending); // a client that goes away is its own business
        }
    });
    port
}

fn serve(mut stream: TcpStream, answers: usize, ending: Ending) -> std::io::Result<()> {
    let mut answered = 0;
    while answered < answers {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut packet)?;
        match packet[0] {
            b'D' | b'A' | b'Q' => continue,
            b'O' => stream.write_all(b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x01\0\0\0\0")?,
            b'E' => stream.write_all(b"\0\0\0\x05hX\0y\0\0\0\0\x01c")?,
            _ => stream.write_all(b"\0\0\0\x01c")?,
        }
        answered += 1;
    }
    let mut one = [0; 1];
    match ending {
        Ending::Hangs => drop(stream.read_to_end(&mut Vec::new())),
        Ending::Closes => {}
        Ending::ClosesInAPacket => {
            stream.read_exact(&mut one)?;
            stream.write_all(b"\0\0\0\x0chX-Half")?;
        }
        Ending::SaysNonsense => {
            stream.read_exact(&mut one)?;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
            drop(stream.read_to_end(&mut Vec::new()));
        }
        Ending::AnnouncesTooMuch => {
            stream.read_exact(&mut one)?;
            stream.write_all(b"\x7f\xff\xff\xffb")?;
            drop(stream.read_to_end(&mut Vec::new()));
        }
    }
    Ok(())
}

#[test]
fn a_filter_that_breaks_anywhere_is_the_configured_result() {
    // The negotiation, CONNECT, HELO, MAIL, two RCPT, DATA, five fields, the end of the header section, the body, the end.
    let answers = 15;
    let mail = Mail::new("Subject: x", "body\n");
    for ending in ENDINGS {
        for sound in 0..answers {
            for on_failure in [OnFailure::Accept, OnFailure::TempFail] {
                let short = Duration::from_millis(30);
                let long = Duration::from_secs(60);
                let within = if ending == Ending::Hangs { short } else { long };
                let timeouts = Timeouts { connect: within, command: within, data: within };
                let settings = Settings { on_failure, timeouts, ..everything() };
                let mut session = Session::new(&[(filter(sound, ending), settings)]);
                let what = format!("{ending:?} after {sound} answers, {on_failure:?}");
                let refused = [Event::Connect, Event::Helo]
                    .iter()
                    .any(|event| session.run(*event, facts(), None).0 != Verdict::Pass);
                let outcome = transaction(&mut session, facts(), &mail);
                match on_failure.reply() {
                    None => {
                        let delivered = outcome.delivered.unwrap_or_else(|| panic!("{what}"));
                        assert_eq!(delivered.content, mail.content, "{what}");
                    }
                    Some(reply) => {
                        // On a busy machine one that hangs may seem to do so a little earlier.
                        assert!(refused == (sound < 3) || refused && ending == Ending::Hangs, "{what}");
                        let (_, said) = outcome.refused.last().unwrap_or_else(|| panic!("{what}"));
                        assert_eq!((said, outcome.delivered), (&reply.to_string(), None), "{what}");
                    }
                }
                let failure = session.chain().connection(0).and_then(|connection| connection.failure());
                match ending {
                    Ending::Hangs => assert_eq!(failure, Some(&Failure::TimedOut), "{what}"),
                    Ending::Closes | Ending::ClosesInAPacket => assert_eq!(failure, Some(&Failure::Closed), "{what}"),
                    _ => assert!(matches!(failure, Some(Failure::Packet(_))), "{what}: {failure:?}"),
                }
            }
        }
    }
}
