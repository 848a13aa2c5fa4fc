//! `standin health`: whether the gateway that runs is well, for images without another HTTP client.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::Uri;

use super::console::{Console, Exit};

/// For each address: to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A status line is shorter.
const MAX_ANSWER: u64 = 4 << 10;

/// Ask the gateway that runs whether it is well: exit code 0, or 1.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What is asked: the admin listener's /healthz (it runs) or /readyz (it takes requests).
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:9090/healthz"
    )]
    url: Uri,
}

pub(super) fn health(arguments: &Arguments, console: &mut Console<'_>) -> Exit {
    match ask(&arguments.url) {
        Ok(status) if (200..300).contains(&status) => Exit::Fine,
        Ok(status) => {
            console.complain(&format!("standin: {} answers {status}\n", arguments.url));
            Exit::Refused
        }
        Err(error) => {
            console.complain(&format!("standin: {}: {error}\n", arguments.url));
            Exit::Refused
        }
    }
}

/// The status of the answer.
fn ask(url: &Uri) -> io::Result<u16> {
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(io::Error::other("the URL must be http://HOST:PORT/PATH"));
    };
    let address = (
        authority.host().trim_matches(['[', ']']),
        authority.port_u16().unwrap_or(80),
    );
    let mut stream = connect(address.to_socket_addrs()?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // An answer that is cut behind its status line is an answer.
    let read = stream.take(MAX_ANSWER).read_to_end(&mut answer);
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
    match (status, read) {
        (Some(status), _) => Ok(status),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(io::Error::other("what answers there speaks no HTTP/1.1")),
    }
}

fn connect(addresses: impl Iterator<Item = std::net::SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the host has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::tests::called;
    use super::*;

    /// How the command ends where this is the answer, and what it complains about.
    fn answered(answer: &'static str) -> (Exit, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked[..read].to_vec()).unwrap()
        });
        let (exit, out, err) = called(&["health", "--url", &url]);
        assert_eq!(out, "");
        assert!(
            server
                .join()
                .unwrap()
                .starts_with("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:")
        );
        (exit, err.replace(&url, "URL"))
    }

    #[test]
    fn it_goes_by_the_status() {
        let (exit, said) = answered("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
        assert_eq!((exit, &*said), (Exit::Fine, ""));
        let (exit, said) = answered("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(
            (exit, &*said),
            (Exit::Refused, "standin: URL answers 503\n")
        );
        for silent in ["", "SSH-2.0-x\r\n"] {
            let (exit, said) = answered(silent);
            let expected = "standin: URL: what answers there speaks no HTTP/1.1\n";
            assert_eq!((exit, &*said), (Exit::Refused, expected));
        }
    }

    #[test]
    fn nobody_there_is_not_well() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let (exit, _, err) = called(&["health", "--url", &format!("http://{port}/")]);
        assert_eq!(exit, Exit::Refused);
        assert!(err.contains("refused"), "{err}");
        let (exit, _, err) = called(&["health", "--url", "https://localhost/"]);
        assert_eq!(exit, Exit::Refused);
        assert!(err.contains("must be http://"), "{err}");
    }
}
