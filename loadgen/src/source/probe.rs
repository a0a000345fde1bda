//! One connection before the run: is anyone there, and can it do what is asked for?

use anyhow::{anyhow, bail};

use super::link::{Failure, Link};
use super::settings::{Settings, TlsUse};
use super::shard::Shard;
use super::stats::Span;
use super::wire::Features;
use super::{reply, stats};

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub struct Greeting {
    /// First line of its greeting.
    pub banner: String,
    /// Its EHLO keywords, after STARTTLS where that is used.
    pub extensions: Vec<String>,
}

impl Greeting {
    fn read(text: &[u8]) -> Self {
        let mut lines = reply::lines(text).map(str::to_owned);
        // The greeting may have several lines; the EHLO reply begins where the next whole reply does.
        let banner = lines.next().unwrap_or_default();
        let greeting_length = reply::parse(text).ok().flatten().map_or(0, |reply| reply.length);
        let extensions =
            reply::lines(text.get(greeting_length..).unwrap_or_default()).skip(1).map(str::to_owned).collect();
        Greeting { banner, extensions }
    }

    /// Whether a keyword is offered.
    pub fn offers(&self, keyword: &str) -> bool {
        self.extensions
            .iter()
            .any(|line| line.split([' ', '=']).next().is_some_and(|word| word.eq_ignore_ascii_case(keyword)))
    }
}

/// Connects once and says QUIT again.
pub async fn greet(shard: &Shard) -> Result<Greeting, Failure> {
    let mut link = Link::open(shard, false, true).await?;
    let text = std::mem::take(&mut link.text);
    link.quit(shard).await;
    Ok(Greeting::read(&text))
}

/// Why there can be no run, for people.
pub fn explain(failure: &Failure, settings: &Settings) -> anyhow::Error {
    let server = &settings.server_words;
    let phase = |span: Span| stats::SPANS[span as usize].1;
    match failure {
        Failure::Broken(Span::Connect, words) if words == "connection refused" => anyhow!(
            "{server}: connection refused: nothing listens there. Start the server first \
             (a sink to try with: posthaste-loadgen sink --listen {server})"
        ),
        Failure::Broken(Span::Connect, words) => anyhow!("{server}: cannot connect: {words}"),
        Failure::Broken(Span::Banner, words) if settings.tls.usage == TlsUse::None => {
            anyhow!("{server}: no greeting: {words} (does it speak TLS from the first byte? then add --tls implicit)")
        }
        Failure::Broken(span @ Span::Tls, words) if settings.tls.usage == TlsUse::Implicit => {
            anyhow!("{server}: {}: {words} (is it a port for STARTTLS? then say --tls starttls)", phase(*span))
        }
        Failure::Broken(span, words) => anyhow!("{server}: {}: {words}", phase(*span)),
        Failure::Refused(Span::Tls, code) => {
            anyhow!("{server} refuses STARTTLS with {code}: does it offer TLS at all?")
        }
        Failure::Refused(Span::Auth, code) => {
            anyhow!("{server} refuses AUTH with {code}: are user and password right?")
        }
        Failure::Refused(Span::Ehlo, code) if settings.is_lmtp => {
            anyhow!("{server} answers LHLO with {code}: is it an SMTP port? then leave --lmtp out")
        }
        Failure::Refused(span, code) => anyhow!("{server} answers {} with {code}", phase(*span)),
    }
}

/// What may be asked for, and what is taken where it is offered.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Asked for by name: an error where it is not offered.
    pub named: Features,
    /// PIPELINING and SIZE are used where they are offered, unless this is set.
    pub no_pipelining: bool,
    /// See above.
    pub no_size: bool,
}

/// Which extensions the run uses.
pub fn choose(wanted: Wanted, greeting: &Greeting, server: &str) -> anyhow::Result<Features> {
    let named = [
        (wanted.named.chunking, "CHUNKING"),
        (wanted.named.eight_bit, "8BITMIME"),
        (wanted.named.smtputf8, "SMTPUTF8"),
        (wanted.named.dsn, "DSN"),
    ];
    if let Some((_, missing)) = named.iter().find(|(is_wanted, keyword)| *is_wanted && !greeting.offers(keyword)) {
        bail!("{server} does not offer {missing}; it offers: {}", greeting.extensions.join(", "));
    }
    Ok(Features {
        pipelining: !wanted.no_pipelining && greeting.offers("PIPELINING"),
        size: !wanted.no_size && greeting.offers("SIZE"),
        ..wanted.named
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_understood() {
        let text =
            b"220-mx.test\r\n220 ready\r\n250-mx.test hello\r\n250-PIPELINING\r\n250-SIZE 100\r\n250 CHUNKING\r\n";
        let greeting = Greeting::read(text);
        assert_eq!(greeting.banner, "mx.test");
        assert_eq!(greeting.extensions, ["PIPELINING", "SIZE 100", "CHUNKING"]);
        let named = Features { chunking: true, ..Features::default() };
        let wanted = Wanted { named, no_pipelining: false, no_size: true };
        let features = choose(wanted, &greeting, "mx").expect("all offered");
        assert_eq!(features.words(), "PIPELINING CHUNKING");
        let wanted = Wanted { named: Features { dsn: true, ..named }, ..wanted };
        assert!(choose(wanted, &greeting, "mx").expect_err("not offered").to_string().contains("DSN"));
    }
}
