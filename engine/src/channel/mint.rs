//! Ids and keys that nobody can guess.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// Makes numbers from a secret and a counter: one hash each instead of a system call, because
/// every HTTP request draws some.
pub(super) struct Mint {
    secret: [u8; 32],
    drawn: AtomicU64,
}

impl Mint {
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        // Two halves from the operating system's generator.
        secret[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        secret[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Mint {
            secret,
            drawn: AtomicU64::new(0),
        }
    }

    /// Two numbers that were never drawn before.
    pub(super) fn draw(&self) -> [u128; 2] {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        // What is hashed has one length, so a hash tells nothing of any other.
        let hash = Sha256::new()
            .chain_update(self.secret)
            .chain_update(number.to_be_bytes())
            .finalize();
        let half = |from: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash[from..from + 16]);
            u128::from_be_bytes(bytes)
        };
        [half(0), half(16)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Mint;

    #[test]
    fn numbers_differ_within_and_between_mints() {
        let (one, other) = (Mint::new(), Mint::new());
        let drawn: HashSet<u128> = (0..100)
            .flat_map(|_| [one.draw(), other.draw()])
            .flatten()
            .collect();
        assert_eq!(drawn.len(), 400);
    }
}
