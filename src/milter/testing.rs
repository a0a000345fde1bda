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
