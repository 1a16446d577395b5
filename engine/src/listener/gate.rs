//! Who may come in: token, `Host`, `Origin`.

use std::net::{IpAddr, SocketAddr};

use agentos_protocol::ErrorBody;

use crate::{
    bus::same,
    config::{Auth, Listener},
};

/// Largest message of a client that has not shown its token in the handshake: strangers must not
/// make the engine hold much.
const UNTRUSTED_BYTES_MAX: usize = 1 << 20;

/// The rules of one listener.
#[derive(Clone)]
pub(crate) struct Gate {
    /// `None` lets everybody in.
    token: Option<String>,
    origins: Vec<String>,
    hosts: Vec<String>,
    address: SocketAddr,
    message_bytes_max: usize,
}

impl Gate {
    pub(crate) fn new(listener: &Listener, token: &str, message_bytes_max: usize) -> Self {
        Gate {
            token: (listener.auth == Auth::Token).then(|| token.to_owned()),
            origins: listener.origins.clone(),
            hosts: listener.hosts.clone(),
            address: listener.address,
            message_bytes_max,
        }
    }

    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    /// Largest message of a client that has shown its token in the handshake, or has not.
    pub(crate) fn bytes_max(&self, is_trusted: bool) -> usize {
        if is_trusted {
            self.message_bytes_max
        } else {
            self.message_bytes_max.min(UNTRUSTED_BYTES_MAX)
        }
    }

    /// Must everybody show the token?
    pub(crate) fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    /// Is this the token, or is none needed?
    pub(crate) fn admits(&self, token: Option<&str>) -> bool {
        match (&self.token, token) {
            (None, _) => true,
            (Some(right), Some(given)) => same(right, given),
            (Some(_), None) => false,
        }
    }

    #[expect(clippy::unused_self, reason = "the refusal is the gate's word")]
    pub(crate) fn refusal(&self, token_given: bool) -> ErrorBody {
        super::unauthenticated(token_given)
    }

    /// A browser page may only come in from an origin that is listed: any page a person visits
    /// can reach loopback.
    pub(crate) fn admits_origin(&self, origin: Option<&str>) -> bool {
        origin.is_none_or(|origin| self.lists_origin(origin))
    }

    pub(crate) fn lists_origin(&self, origin: &str) -> bool {
        self.origins
            .iter()
            .any(|listed| listed == "*" || listed.eq_ignore_ascii_case(origin))
    }

    /// A foreign name in `Host` is a page that has had its name point here (DNS rebinding).
    pub(crate) fn admits_host(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return true };
        let name = without_port(host);
        if self.hosts.iter().any(|listed| {
            listed == "*" || listed.eq_ignore_ascii_case(name) || listed.eq_ignore_ascii_case(host)
        }) {
            return true;
        }
        match name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
            // An address cannot be rebound.
            Ok(ip) => {
                ip.is_loopback() || ip == self.address.ip() || self.address.ip().is_unspecified()
            }
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || name.to_ascii_lowercase().ends_with(".localhost")
            }
        }
    }
}

fn without_port(host: &str) -> &str {
    if let Some(end) = host.find(']') {
        let after = &host[end + 1..];
        return if after.is_empty() || after.starts_with(':') {
            &host[..=end]
        } else {
            host
        };
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(auth: Auth, origins: &[&str], hosts: &[&str]) -> Gate {
        let listener = Listener {
            address: "127.0.0.1:49134".parse().expect("an address"),
            auth,
            origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        };
        Gate::new(&listener, "secret", 1024)
    }

    #[test]
    fn tokens() {
        let gate = gate(Auth::Token, &[], &[]);
        assert!(gate.admits(Some("secret")));
        for wrong in [None, Some(""), Some("Secret"), Some("secret ")] {
            assert!(!gate.admits(wrong), "{wrong:?}");
        }
        assert!(self::gate(Auth::None, &[], &[]).admits(None));
    }

    #[test]
    fn hosts() {
        let gate = gate(Auth::Token, &[], &["agents.example"]);
        for right in [
            "127.0.0.1:49134",
            "localhost",
            "LOCALHOST:1",
            "[::1]:49134",
            "app.localhost:80",
            "agents.example:443",
            "127.8.8.8",
        ] {
            assert!(gate.admits_host(Some(right)), "{right}");
        }
        for wrong in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "[::1].evil.example",
            "localhostx",
        ] {
            assert!(!gate.admits_host(Some(wrong)), "{wrong}");
        }
    }

    #[test]
    fn origins() {
        let gate = gate(Auth::Token, &["https://app.example"], &[]);
        assert!(gate.admits_origin(None));
        assert!(gate.admits_origin(Some("https://app.example")));
        for wrong in [
            "https://evil.example",
            "null",
            "http://app.example",
            "http://localhost:3000",
        ] {
            assert!(!gate.admits_origin(Some(wrong)), "{wrong}");
        }
    }
}
