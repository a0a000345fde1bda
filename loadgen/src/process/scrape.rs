//! One number from a metrics page in the Prometheus text format.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use super::proc;

/// A page that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_millis(800);
/// Most bytes of a page that are read.
const PAGE_BYTES_MAX: u64 = 8 << 20;

/// An address such as `http://127.0.0.1:9090/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    host: String,
    path: String,
}

impl FromStr for Url {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not http://HOST:PORT/PATH");
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = rest.split_once('/').map_or((rest, "metrics"), |(host, path)| (host, path));
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        if host.is_empty() || !is_plain(host) || !is_plain(path) {
            return Err(wrong());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Url { host, path: format!("/{path}") })
    }
}

/// The metric whose name ends in `name`, summed over its labels.
pub fn counter(url: &Url, name: &str) -> io::Result<u64> {
    let page = get(url).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::other("no answer in time"),
        _ => error,
    })?;
    let Some((head, body)) = page.split_once("\r\n\r\n") else { return Err(io::Error::other("no HTTP reply")) };
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        return Err(io::Error::other(format!("answered {status:?}")));
    }
    proc::metric(body, name).ok_or_else(|| io::Error::other(format!("no metric ends in {name}")))
}

fn get(url: &Url) -> io::Result<String> {
    let address = url.host.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer is not chunked and ends with the connection.
    let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", url.path, url.host);
    stream.write_all(request.as_bytes())?;
    let mut page = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_page_is_fetched_and_read() {
        let server = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url: Url = format!("http://{}/metrics", server.local_addr().expect("an address")).parse().expect("a URL");
        let serving = std::thread::spawn(move || {
            for reply in ["HTTP/1.1 200 OK\r\n\r\nmta_spool_syncs_total 12\n", "HTTP/1.1 404 Not Found\r\n\r\n"] {
                let (mut client, _) = server.accept().expect("a client");
                let (mut request, mut part) = (Vec::new(), [0; 512]);
                while !request.ends_with(b"\r\n\r\n") {
                    let length = client.read(&mut part).expect("a request");
                    request.extend_from_slice(&part[..length]);
                }
                assert!(request.starts_with(b"GET /metrics HTTP/1.0\r\n"));
                client.write_all(reply.as_bytes()).expect("sent");
            }
        });
        assert_eq!(counter(&url, "spool_syncs_total").expect("a number"), 12);
        assert!(counter(&url, "spool_syncs_total").expect_err("404").to_string().contains("404"));
        serving.join().expect("served");
        assert!(counter(&url, "x").is_err(), "nobody listens");
    }

    #[test]
    fn addresses_are_read() {
        let url: Url = "http://localhost".parse().expect("a URL");
        assert_eq!(url, Url { host: "localhost:80".into(), path: "/metrics".into() });
        assert!("https://x/".parse::<Url>().is_err() && "http://".parse::<Url>().is_err());
    }
}
