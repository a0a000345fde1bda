//! Commands as they go out. Pure.

use data_encoding::BASE64;

/// Which extensions are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Commands in groups (RFC 2920).
    pub pipelining: bool,
    /// BDAT instead of DATA (RFC 3030).
    pub chunking: bool,
    /// SIZE= (RFC 1870).
    pub size: bool,
    /// BODY=8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET, ENVID, NOTIFY, ORCPT (RFC 3461).
    pub dsn: bool,
}

impl Features {
    /// In words.
    pub fn words(&self) -> String {
        let all = [
            (self.pipelining, "PIPELINING"),
            (self.chunking, "CHUNKING"),
            (self.size, "SIZE"),
            (self.eight_bit, "8BITMIME"),
            (self.smtputf8, "SMTPUTF8"),
            (self.dsn, "DSN"),
        ];
        let used: Vec<_> = all.iter().filter(|(is_used, _)| *is_used).map(|(_, name)| *name).collect();
        if used.is_empty() { "no extensions".into() } else { used.join(" ") }
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// MAIL for message `number` of `size` bytes.
pub fn push_mail(out: &mut Vec<u8>, sender: &[u8], features: Features, size: usize, number: u64) {
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(sender);
    out.push(b'>');
    if features.size {
        out.extend_from_slice(b" SIZE=");
        push_number(out, size as u64);
    }
    if features.eight_bit {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if features.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if features.dsn {
        out.extend_from_slice(b" RET=HDRS ENVID=loadgen-");
        push_number(out, number);
    }
    out.extend_from_slice(b"\r\n");
}

/// RCPT.
pub fn push_rcpt(out: &mut Vec<u8>, address: &[u8], features: Features) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(address);
    out.push(b'>');
    if features.dsn {
        out.extend_from_slice(b" NOTIFY=FAILURE ORCPT=rfc822;");
        push_xtext(out, address);
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 3461 §4: what is not printable ASCII, `+` and `=` as two digits.
fn push_xtext(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'+' | b'=' | 0..=32 | 127.. => out.extend_from_slice(format!("+{byte:02X}").as_bytes()),
            byte => out.push(*byte),
        }
    }
}

/// BDAT for a content that is one chunk.
pub fn push_bdat(out: &mut Vec<u8>, size: usize) {
    out.extend_from_slice(b"BDAT ");
    push_number(out, size as u64);
    out.extend_from_slice(b" LAST\r\n");
}

/// How to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mechanism {
    /// AUTH PLAIN with its initial response
    Plain,
    /// AUTH LOGIN, name and password asked for in turn
    Login,
}

/// User, password and the way they are told.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// How.
    pub mechanism: Mechanism,
    /// Who.
    pub user: String,
    /// With what.
    pub password: String,
}

impl Credentials {
    /// The lines to send, one per reply.
    pub fn lines(&self) -> Vec<String> {
        match self.mechanism {
            Mechanism::Plain => {
                let response = format!("\0{}\0{}", self.user, self.password);
                vec![format!("AUTH PLAIN {}\r\n", BASE64.encode(response.as_bytes()))]
            }
            Mechanism::Login => vec![
                "AUTH LOGIN\r\n".to_owned(),
                BASE64.encode(self.user.as_bytes()) + "\r\n",
                BASE64.encode(self.password.as_bytes()) + "\r\n",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_as_the_extensions_want_them() {
        let mut out = Vec::new();
        push_mail(&mut out, b"a@b", Features::default(), 10, 1);
        push_rcpt(&mut out, b"c@d", Features::default());
        let all = Features { size: true, eight_bit: true, smtputf8: true, dsn: true, ..Features::default() };
        push_mail(&mut out, b"", all, 10, 7);
        push_rcpt(&mut out, b"c+=@d", all);
        push_bdat(&mut out, 12);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n\
             MAIL FROM:<> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=loadgen-7\r\n\
             RCPT TO:<c+=@d> NOTIFY=FAILURE ORCPT=rfc822;c+2B+3D@d\r\nBDAT 12 LAST\r\n"
        );
        assert_eq!(all.words(), "SIZE 8BITMIME SMTPUTF8 DSN");
    }

    #[test]
    fn credentials_become_lines() {
        let credentials = |mechanism| Credentials { mechanism, user: "u".into(), password: "p".into() };
        assert_eq!(credentials(Mechanism::Plain).lines(), ["AUTH PLAIN AHUAcA==\r\n"]);
        assert_eq!(credentials(Mechanism::Login).lines(), ["AUTH LOGIN\r\n", "dQ==\r\n", "cA==\r\n"]);
    }
}
