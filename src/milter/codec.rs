//! Packets of the milter protocol, versions 2 to 6: values to octets and octets to values.
//!
//! A packet is a length of four octets in network order, a code of one octet, and data; the length counts code and
//! data. Texts end with NUL. What we send is a [`Command`], what a filter sends a [`Response`]; [`Decoder`] cuts the
//! stream of a filter into packets under a size limit and keeps at most one that is incomplete.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};

/// Codes of what we send (`SMFIC_…` of libmilter's `mfdef.h`).
pub mod code {
    /// ABORT: the transaction ends here.
    pub const ABORT: u8 = b'A';
    /// BODY: a chunk of the body.
    pub const BODY: u8 = b'B';
    /// CONNECT: a client.
    pub const CONNECT: u8 = b'C';
    /// MACRO: symbols for the command that follows.
    pub const MACRO: u8 = b'D';
    /// BODYEOB: end of message.
    pub const END_OF_MESSAGE: u8 = b'E';
    /// HELO or EHLO.
    pub const HELO: u8 = b'H';
    /// QUIT_NC: this client is gone, another one follows on the same connection.
    pub const QUIT_NEXT: u8 = b'K';
    /// HEADER: one field.
    pub const HEADER: u8 = b'L';
    /// MAIL.
    pub const MAIL: u8 = b'M';
    /// EOH: the header section is over.
    pub const END_OF_HEADER: u8 = b'N';
    /// OPTNEG: negotiation, both ways.
    pub const OPTIONS: u8 = b'O';
    /// QUIT: the client is gone.
    pub const QUIT: u8 = b'Q';
    /// RCPT.
    pub const RCPT: u8 = b'R';
    /// DATA (version 4 and later).
    pub const DATA: u8 = b'T';
    /// UNKNOWN: a command that SMTP does not know (version 3 and later).
    pub const UNKNOWN: u8 = b'U';
}

/// What we tell a filter. Texts must be free of NUL; one that is not is sent with `?` in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// The transaction ends without an end of message.
    Abort,
    /// A chunk of the body.
    Body(&'a [u8]),
    /// A client: its verified name or its address in brackets, and where it comes from.
    Connect {
        /// The name.
        hostname: &'a str,
        /// The address, if it has one that the protocol knows.
        address: Option<SocketAddr>,
    },
    /// DATA was given.
    Data,
    /// The header section is over.
    EndOfHeader,
    /// The message is over.
    EndOfMessage,
    /// One field; the CR of its folding is left out, as sendmail does.
    Header {
        /// The name.
        name: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// HELO or EHLO with its argument.
    Helo(&'a str),
    /// MAIL: the path in angle brackets, then each parameter.
    Mail(&'a [&'a str]),
    /// What we speak, may do and may leave out.
    Options {
        /// The protocol version.
        version: u32,
        /// `SMFIF_…`.
        actions: u32,
        /// `SMFIP_…`.
        steps: u32,
    },
    /// The client is gone and so are we.
    Quit,
    /// The client is gone, another one follows here.
    QuitNext,
    /// RCPT: the path in angle brackets, then each parameter.
    Rcpt(&'a [&'a str]),
    /// A command line that SMTP does not know.
    Unknown(&'a [u8]),
}

impl Command<'_> {
    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let texts = |code: u8, texts: &[&str], out: &mut Vec<u8>| {
            let mut packet = Packet::begin(code, out);
            texts.iter().for_each(|text| packet.text(text.as_bytes()));
            packet.end();
        };
        match *self {
            Command::Abort => Packet::begin(code::ABORT, out).end(),
            Command::Body(chunk) => {
                let mut packet = Packet::begin(code::BODY, out);
                packet.octets(chunk);
                packet.end();
            }
            Command::Connect { hostname, address } => connect(hostname, address, out),
            Command::Data => Packet::begin(code::DATA, out).end(),
            Command::EndOfHeader => Packet::begin(code::END_OF_HEADER, out).end(),
            Command::EndOfMessage => Packet::begin(code::END_OF_MESSAGE, out).end(),
            Command::Header { name, value } => {
                let mut packet = Packet::begin(code::HEADER, out);
                packet.text(name);
                packet.folded_text(value);
                packet.end();
            }
            Command::Helo(name) => texts(code::HELO, &[name], out),
            Command::Mail(arguments) => texts(code::MAIL, arguments, out),
            Command::Options { version, actions, steps } => {
                let mut packet = Packet::begin(code::OPTIONS, out);
                [version, actions, steps].iter().for_each(|n| packet.octets(&n.to_be_bytes()));
                packet.end();
            }
            Command::Quit => Packet::begin(code::QUIT, out).end(),
            Command::QuitNext => Packet::begin(code::QUIT_NEXT, out).end(),
            Command::Rcpt(arguments) => texts(code::RCPT, arguments, out),
            Command::Unknown(line) => {
                let mut packet = Packet::begin(code::UNKNOWN, out);
                packet.text(line);
                packet.end();
            }
        }
    }
}

/// The start of a text of a filter, fit for a log.
pub(super) fn shown(text: &[u8]) -> String {
    text.get(..80).unwrap_or(text).escape_ascii().to_string()
}

/// A chunk of the body from the front of `pieces`, `room` octets at most: how many it has. None without a body.
pub(super) fn body<'b>(pieces: impl Iterator<Item = &'b [u8]>, room: usize, out: &mut Vec<u8>) -> usize {
    let mut packet = Packet::begin(code::BODY, out);
    for piece in pieces {
        let free = room - packet.data_len();
        if free == 0 {
            break;
        }
        packet.octets(piece.get(..free).unwrap_or(piece));
    }
    let taken = packet.data_len();
    if taken == 0 {
        packet.discard()
    } else {
        packet.end()
    }
    taken
}

/// CONNECT: the name, the family, then port and address of those families that have them.
fn connect(hostname: &str, address: Option<SocketAddr>, out: &mut Vec<u8>) {
    let mut packet = Packet::begin(code::CONNECT, out);
    packet.text(hostname.as_bytes());
    match address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())) {
        None => packet.octets(b"U"),
        Some(address) => {
            packet.octets(if address.is_ipv4() { b"4" } else { b"6" });
            packet.octets(&address.port().to_be_bytes());
            packet.text(address.ip().to_string().as_bytes());
        }
    }
    packet.end();
}

/// A packet under construction at the end of a buffer; its length is filled in at its end.
pub(super) struct Packet<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> Packet<'o> {
    /// Starts a packet with that code.
    pub(super) fn begin(code: u8, out: &'o mut Vec<u8>) -> Packet<'o> {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, code]);
        Packet { out, start }
    }

    /// Adds octets as they are.
    pub(super) fn octets(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    /// Adds a text and the NUL that ends it; a NUL inside would end it early and becomes `?`.
    pub(super) fn text(&mut self, text: &[u8]) {
        match memchr::memchr(0, text) {
            None => self.out.extend_from_slice(text),
            Some(_) => self.out.extend(text.iter().map(|&b| if b == 0 { b'?' } else { b })),
        }
        self.out.push(0);
    }

    /// Adds a text with CRLF as LF.
    pub(super) fn folded_text(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some(at) = memchr::memchr2(b'\r', 0, rest) {
            let (line, tail) = rest.split_at(at);
            self.out.extend_from_slice(line);
            match tail {
                [b'\r', b'\n', ..] => {}
                [0, ..] => self.out.push(b'?'),
                _ => self.out.push(b'\r'),
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        self.text(rest);
    }

    /// Octets of data so far, the code not counted.
    pub(super) fn data_len(&self) -> usize {
        self.out.len() - self.start - 5
    }

    /// Takes the packet back.
    pub(super) fn discard(self) {
        self.out.truncate(self.start);
    }

    /// Fills in the length.
    pub(super) fn end(self) {
        let length = (self.out.len() - self.start - 4) as u32;
        if let Some(at) = self.out.get_mut(self.start..self.start + 4) {
            at.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// What a filter tells us. Texts are octets without their NUL, slices of the packet they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Its side of the negotiation.
    Options(Options),
    /// Go on.
    Continue,
    /// Take it, and ask no more about it.
    Accept,
    /// Refuse it for good.
    Reject,
    /// Refuse it for now.
    TempFail,
    /// Take it and drop it.
    Discard,
    /// No more of this kind in this message.
    Skip,
    /// Still at work.
    Progress,
    /// Close the connection with 421.
    Shutdown,
    /// Let the connection fail.
    ConnectionFailure,
    /// Say this.
    ReplyCode(Bytes),
    /// A field more, at the end.
    AddHeader {
        /// The name.
        name: Bytes,
        /// The value.
        value: Bytes,
    },
    /// A field more, at a position.
    InsertHeader {
        /// The position; see [`super::changes`].
        index: u32,
        /// The name.
        name: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Another value for the n-th field of a name; an empty one deletes it.
    ChangeHeader {
        /// Which of that name, from one.
        index: u32,
        /// The name.
        name: Bytes,
        /// The value.
        value: Bytes,
    },
    /// A piece of the new body.
    ReplaceBody(Bytes),
    /// Another reverse-path, perhaps with parameters.
    ChangeFrom {
        /// The path.
        path: Bytes,
        /// Its ESMTP parameters, separated by spaces.
        parameters: Option<Bytes>,
    },
    /// A recipient more, perhaps with parameters.
    AddRecipient {
        /// The path.
        path: Bytes,
        /// Its ESMTP parameters, separated by spaces; only `SMFIR_ADDRCPT_PAR` has them.
        parameters: Option<Bytes>,
    },
    /// A recipient less.
    DeleteRecipient(Bytes),
    /// Keep the message back, with a reason.
    Quarantine(Bytes),
}

/// A filter's answer to our offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The version it speaks.
    pub version: u32,
    /// What it may want to do.
    pub actions: u32,
    /// What it does not want to see or answer.
    pub steps: u32,
    /// The symbols it wants by stage number; [`super::macros`] reads them.
    pub symbols: Vec<(u32, Bytes)>,
}

/// Why octets of a filter are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketFault {
    /// The length is zero: not even a code.
    #[error("a packet without a code")]
    Empty,
    /// The length is beyond the limit.
    #[error("a packet of {length} octets where {max} are allowed")]
    TooLong {
        /// Octets it announces.
        length: u32,
        /// Octets allowed.
        max: u32,
    },
    /// The data ends before what the code needs.
    #[error("a packet with code {} that is too short", code_name(.0))]
    Truncated(u8),
    /// Data where the code allows none, or more than it allows.
    #[error("a packet with code {} that is too long", code_name(.0))]
    Trailing(u8),
    /// A code that no version has.
    #[error("a packet with the unknown code {}", code_name(.0))]
    Unknown(u8),
}

fn code_name(code: &u8) -> String {
    format!("'{}'", code.escape_ascii())
}

/// Cuts the stream of a filter into packets. Holds no memory while nothing is incomplete.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes what was read.
    pub fn push(&mut self, input: &[u8]) {
        self.buffer.extend_from_slice(input);
    }

    /// The next packet when it is complete. `max` bounds code and data, in octets; a longer one is refused as soon as
    /// its length is seen. After a fault the stream cannot be trusted any more.
    pub fn next(&mut self, max: u32) -> Result<Option<Response>, PacketFault> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        if length == 0 {
            return Err(PacketFault::Empty);
        }
        if length > max {
            return Err(PacketFault::TooLong { length, max });
        }
        let length = length as usize;
        if rest.len() < length {
            return Ok(None);
        }
        let Some(&code) = rest.first() else { return Ok(None) };
        self.buffer.advance(5);
        if length == 1 {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            return Response::decode(code, Bytes::new()).map(Some);
        }
        let data = self.buffer.split_to(length - 1).freeze();
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new(); // the pieces keep the old one alive as long as they need it
        }
        Response::decode(code, data).map(Some)
    }

    /// Octets that belong to no packet yet.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets what is pending.
    pub fn clear(&mut self) {
        self.buffer = BytesMut::new();
    }
}

impl Response {
    /// Reads the data of a packet by its code.
    pub fn decode(code: u8, data: Bytes) -> Result<Response, PacketFault> {
        let mut data = Data { code, rest: data };
        let response = match code {
            b'O' => Response::Options(data.options()?),
            b'c' => Response::Continue,
            b'a' => Response::Accept,
            b'r' => Response::Reject,
            b't' => Response::TempFail,
            b'd' => Response::Discard,
            b's' => Response::Skip,
            b'p' => Response::Progress,
            b'4' => Response::Shutdown,
            b'f' => Response::ConnectionFailure,
            b'y' => Response::ReplyCode(data.text()?),
            b'h' => Response::AddHeader { name: data.text()?, value: data.text()? },
            b'i' => Response::InsertHeader { index: data.number()?, name: data.text()?, value: data.text()? },
            b'm' => Response::ChangeHeader { index: data.number()?, name: data.text()?, value: data.text()? },
            b'b' => Response::ReplaceBody(std::mem::take(&mut data.rest)),
            b'e' => Response::ChangeFrom { path: data.text()?, parameters: data.optional_text()? },
            b'+' => Response::AddRecipient { path: data.text()?, parameters: None },
            b'2' => Response::AddRecipient { path: data.text()?, parameters: data.optional_text()? },
            b'-' => Response::DeleteRecipient(data.text()?),
            b'q' => Response::Quarantine(data.text()?),
            _ => return Err(PacketFault::Unknown(code)),
        };
        match data.rest.is_empty() {
            true => Ok(response),
            false => Err(PacketFault::Trailing(code)),
        }
    }

    /// It changes the message and is not the end of what the filter has to say.
    pub fn is_change(&self) -> bool {
        matches!(
            self,
            Response::AddHeader { .. }
                | Response::InsertHeader { .. }
                | Response::ChangeHeader { .. }
                | Response::ReplaceBody(_)
                | Response::ChangeFrom { .. }
                | Response::AddRecipient { .. }
                | Response::DeleteRecipient(_)
                | Response::Quarantine(_)
        )
    }
}

/// The data of one packet, read from its front.
struct Data {
    code: u8,
    rest: Bytes,
}

impl Data {
    fn number(&mut self) -> Result<u32, PacketFault> {
        self.rest.try_get_u32().map_err(|_| PacketFault::Truncated(self.code))
    }

    /// Up to the NUL, which libmilter always sends and the protocol asks for.
    fn text(&mut self) -> Result<Bytes, PacketFault> {
        let end = memchr::memchr(0, &self.rest).ok_or(PacketFault::Truncated(self.code))?;
        let text = self.rest.split_to(end);
        self.rest.advance(1);
        Ok(text)
    }

    fn optional_text(&mut self) -> Result<Option<Bytes>, PacketFault> {
        if self.rest.is_empty() { Ok(None) } else { self.text().map(Some) }
    }

    fn options(&mut self) -> Result<Options, PacketFault> {
        let (version, actions, steps) = (self.number()?, self.number()?, self.number()?);
        let mut symbols = Vec::new();
        while !self.rest.is_empty() {
            symbols.push((self.number()?, self.text()?));
        }
        Ok(Options { version, actions, steps, symbols })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_size_reserves_nothing() {
        let mut decoder = Decoder::default();
        decoder.push(b"\x03\0\0\0b");
        assert_eq!(decoder.next(u32::MAX), Ok(None));
        assert!(decoder.buffer.capacity() < 1024);
    }
}
