//! A filter's side of the protocol, as small as tests need it.

use super::codec::{Options, Response};

/// A packet.
pub(super) fn packet(code: u8, data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32 + 1).to_be_bytes()[..], &[code], data].concat()
}

/// A response as a filter writes it.
pub(super) fn encode(response: &Response) -> Vec<u8> {
    let text = |text: &[u8]| [text, b"\0"].concat();
    let field =
        |index: &u32, name: &[u8], value: &[u8]| [index.to_be_bytes().to_vec(), text(name), text(value)].concat();
    let with = |path: &[u8], more: &Option<bytes::Bytes>| {
        [text(path), more.as_ref().map(|more| text(more)).unwrap_or_default()].concat()
    };
    let (code, data) = match response {
        Response::Options(Options { version, actions, steps, symbols }) => {
            let mut data: Vec<u8> = [version, actions, steps].iter().flat_map(|n| n.to_be_bytes()).collect();
            for (stage, names) in symbols {
                data.extend(stage.to_be_bytes());
                data.extend(text(names));
            }
            (b'O', data)
        }
        Response::Continue => (b'c', Vec::new()),
        Response::Accept => (b'a', Vec::new()),
        Response::Reject => (b'r', Vec::new()),
        Response::TempFail => (b't', Vec::new()),
        Response::Discard => (b'd', Vec::new()),
        Response::Skip => (b's', Vec::new()),
        Response::Progress => (b'p', Vec::new()),
        Response::Shutdown => (b'4', Vec::new()),
        Response::ConnectionFailure => (b'f', Vec::new()),
        Response::ReplyCode(reply) => (b'y', text(reply)),
        Response::AddHeader { name, value } => (b'h', [text(name), text(value)].concat()),
        Response::InsertHeader { index, name, value } => (b'i', field(index, name, value)),
        Response::ChangeHeader { index, name, value } => (b'm', field(index, name, value)),
        Response::ReplaceBody(piece) => (b'b', piece.to_vec()),
        Response::ChangeFrom { path, parameters } => (b'e', with(path, parameters)),
        Response::AddRecipient { path, parameters: None } => (b'+', text(path)),
        Response::AddRecipient { path, parameters } => (b'2', with(path, parameters)),
        Response::DeleteRecipient(path) => (b'-', text(path)),
        Response::Quarantine(reason) => (b'q', text(reason)),
    };
    packet(code, &data)
}

/// The commands in a stream of ours, as code and data; panics on anything but whole packets.
pub(super) fn commands(mut stream: &[u8]) -> Vec<(char, Vec<u8>)> {
    let mut all = Vec::new();
    while !stream.is_empty() {
        let (length, rest) = stream.split_first_chunk::<4>().expect("a length");
        let (packet, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        all.push((char::from(packet[0]), packet[1..].to_vec()));
        stream = rest;
    }
    all
}

/// What a filter says to a command with its data.
type Answer = dyn FnMut(char, &[u8]) -> Vec<Response>;

/// A filter in memory: it logs what it is told and answers what a function says, CONTINUE if that says nothing.
pub(super) struct Filter {
    pub(super) log: Vec<String>,
    options: Options,
    answer: Box<Answer>,
}

impl Filter {
    pub(super) fn new(answer: impl FnMut(char, &[u8]) -> Vec<Response> + 'static) -> Filter {
        let options = Options { version: 6, actions: 0xff, steps: 0, symbols: Vec::new() };
        Filter { log: Vec::new(), options, answer: Box::new(answer) }
    }

    pub(super) fn with_steps(mut self, steps: u32) -> Filter {
        self.options.steps = steps;
        self
    }

    /// Hears a stream and gives what it answers.
    pub(super) fn hear(&mut self, stream: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (code, data) in commands(stream) {
            if code != 'D' && code != 'O' {
                self.log.push(format!("{code} {}", data.escape_ascii()));
            }
            let answers = match code {
                'O' => vec![Response::Options(self.options.clone())],
                'D' | 'A' | 'Q' => continue,
                _ => (self.answer)(code, &data),
            };
            let is_final = answers.last().is_some_and(|last| !last.is_change());
            answers.iter().for_each(|answer| out.extend(encode(answer)));
            if !is_final && !self.is_quiet(code) {
                out.extend(encode(&Response::Continue));
            }
        }
        out
    }

    fn is_quiet(&self, code: char) -> bool {
        let flag = match code {
            'C' => 0x1000,
            'H' => 0x2000,
            'M' => 0x4000,
            'R' => 0x8000,
            'T' => 0x1_0000,
            'L' => 0x80,
            'N' => 0x4_0000,
            'B' => 0x8_0000,
            _ => 0,
        };
        self.options.steps & flag != 0
    }
}
