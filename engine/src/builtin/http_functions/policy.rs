//! Which addresses may be called: pure rules about URLs and IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use glob::Pattern;
use hyper::Uri;

use super::{config::Security, error::Refused};

/// Checked [`Security`].
#[derive(Debug)]
pub(super) struct Policy {
    allowed: Vec<Pattern>,
    pub(super) block_private: bool,
    require_https: bool,
}

impl Policy {
    /// # Errors
    /// The glob that is none.
    pub(super) fn new(security: &Security) -> Result<Self, String> {
        let globs = security.url_allowlist.iter().map(|glob| {
            Pattern::new(&glob.to_ascii_lowercase())
                .map_err(|error| format!("security.url_allowlist: `{glob}`: {error}"))
        });
        Ok(Policy {
            allowed: globs.collect::<Result<_, _>>()?,
            block_private: security.block_private_ips,
            require_https: security.require_https,
        })
    }

    /// Checks all but what the host's name stands for, which is checked where the connection is made.
    ///
    /// # Errors
    /// The first rule that the URL breaks.
    pub(super) fn check(&self, url: &str) -> Result<Uri, Refused> {
        let uri: Uri = url.parse().map_err(|_| Refused::InvalidUrl)?;
        let authority = uri.authority().ok_or(Refused::InvalidUrl)?;
        let host = plain(authority.host());
        // A name and a password in a URL would end up in logs; they belong into `auth`.
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(Refused::InvalidUrl);
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if self.require_https => return Err(Refused::NotHttps),
            Some("http") => {}
            _ => return Err(Refused::InvalidUrl),
        }
        if !self.allowed.iter().any(|glob| glob.matches(&host)) {
            return Err(Refused::NotListed);
        }
        match host.parse::<IpAddr>() {
            Ok(address) => self.check_address(address)?,
            Err(_) if self.block_private && is_local_name(&host) => return Err(Refused::PrivateIp),
            Err(_) => {}
        }
        Ok(uri)
    }

    /// # Errors
    /// `PrivateIp`, if those are blocked and it is one.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), Refused> {
        if self.block_private && !is_public(address) {
            return Err(Refused::PrivateIp);
        }
        Ok(())
    }
}

/// The host in lower case, without brackets and without the dot at the end.
fn plain(host: &str) -> String {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// RFC 6761: these never leave the machine.
fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// True for addresses of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// What IANA's registry of special-purpose addresses calls globally reachable, roughly: less the
/// multicast, plus nothing.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || (a == 100 && b & 0b1100_0000 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inside) = inner_v4(address) {
        return is_public_v4(inside);
    }
    let [first, second, ..] = address.segments();
    let special = match first {
        // IETF protocol assignments with Teredo and ORCHID, and documentation.
        0x2001 => second < 0x200 || second == 0xdb8,
        0x3fff => second < 0x1000,
        // Global unicast is 2000::/3; all that is elsewhere is special.
        _ => first & 0xe000 != 0x2000,
    };
    !special
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, translated (NAT64), 6to4.
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(join(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], block_private_ips: bool, require_https: bool) -> Policy {
        let url_allowlist = allow.iter().map(|&glob| glob.to_owned()).collect();
        Policy::new(&Security {
            url_allowlist,
            block_private_ips,
            require_https,
        })
        .unwrap()
    }

    #[test]
    fn urls() {
        let cases = [
            ("https://api.example.com/x?y=1", Ok(())),
            ("https://API.Example.com:8443", Ok(())),
            ("https://api.example.com./", Ok(())),
            ("http://api.example.com/", Err(Refused::NotHttps)),
            ("https://example.org/", Err(Refused::NotListed)),
            ("https://api.example.com.evil.org/", Err(Refused::NotListed)),
            (
                "https://user:secret@api.example.com/",
                Err(Refused::InvalidUrl),
            ),
            (
                "https://api.example.com@evil.org/",
                Err(Refused::InvalidUrl),
            ),
            ("ftp://api.example.com/", Err(Refused::InvalidUrl)),
            ("api.example.com", Err(Refused::InvalidUrl)),
            ("/x", Err(Refused::InvalidUrl)),
            ("https://", Err(Refused::InvalidUrl)),
            ("https://a b/", Err(Refused::InvalidUrl)),
            ("", Err(Refused::InvalidUrl)),
        ];
        let policy = policy(&["*.example.com"], true, true);
        for (url, expected) in cases {
            assert_eq!(policy.check(url).map(|_| ()), expected, "{url}");
        }
    }

    #[test]
    fn addresses() {
        let private = [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::ffff:0:192.168.0.1",
            "64:ff9b:1::1",
            "100::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "192.167.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn hosts_that_are_addresses() {
        let strict = policy(&["*"], true, false);
        for url in [
            "http://127.0.0.1:80/",
            "http://[::1]/",
            "http://[::ffff:10.1.2.3]/",
            "http://localhost/",
            "http://x.localhost./",
            "https://169.254.169.254/latest",
        ] {
            assert_eq!(
                strict.check(url).map(|_| ()),
                Err(Refused::PrivateIp),
                "{url}"
            );
        }
        let open = policy(&["*"], false, false);
        assert!(open.check("http://127.0.0.1:80/").is_ok());
        assert!(policy(&[], false, false).check("http://1.1.1.1/").is_err());
        let bad = Security {
            url_allowlist: vec!["[".to_owned()],
            ..Security::default()
        };
        assert!(Policy::new(&bad).unwrap_err().contains("`[`"));
    }
}
