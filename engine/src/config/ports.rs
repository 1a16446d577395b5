//! Listeners that would be in each other's way.

use std::net::SocketAddr;

/// The first two that want one port: the places of the earlier and the later. Port 0 is any.
pub(super) fn shared<N>(listeners: &[(N, SocketAddr)]) -> Option<(usize, usize)> {
    (1..listeners.len()).find_map(|later| {
        let earlier =
            (0..later).find(|&earlier| collide(listeners[earlier].1, listeners[later].1))?;
        Some((earlier, later))
    })
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_listeners_that_collide() {
        let check = |addresses: &[&str], expect| {
            let listeners: Vec<((), SocketAddr)> = addresses
                .iter()
                .map(|address| ((), address.parse().unwrap()))
                .collect();
            assert_eq!(shared(&listeners), expect, "{addresses:?}");
        };
        check(&["127.0.0.1:1", "127.0.0.1:2"], None);
        check(&["127.0.0.1:0", "127.0.0.1:0"], None);
        check(&["127.0.0.1:1", "127.0.0.2:1"], None);
        check(&["127.0.0.1:2", "127.0.0.1:1", "0.0.0.0:1"], Some((1, 2)));
        check(&["127.0.0.1:1", "127.0.0.1:1"], Some((0, 1)));
    }
}
