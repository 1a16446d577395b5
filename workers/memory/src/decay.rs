//! What a memory loses with the time that nobody has needed it. Pure: it is told the time.

use agentos_contract::memory::Memory;

use crate::config::Config;

/// Uses are remembered to the day: to a half-life of weeks it makes no difference, and a memory is
/// written for it once a day at most.
pub(crate) const USE_MS: u64 = 24 * 60 * 60 * 1_000;

/// See [`Config::decay_max`] and [`Config::decay_half_life_days`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decay {
    max: f64,
    half_life_ms: f64,
}

impl Decay {
    pub(crate) fn new(config: &Config) -> Self {
        Decay {
            max: config.decay_max.clamp(0.0, 1.0),
            half_life_ms: (config.decay_half_life_days * USE_MS as f64).max(1.0),
        }
    }

    /// What is left of a score: 1 for a memory of today, less the longer it was of no use.
    pub(crate) fn factor(self, memory: &Memory, now_ms: u64) -> f64 {
        let idle_ms = now_ms.saturating_sub(last_use(memory)) as f64;
        1.0 - self.max * (1.0 - (-idle_ms / self.half_life_ms).exp2())
    }
}

/// When somebody last had to do with it: recalled it, or stored it.
pub(crate) fn last_use(memory: &Memory) -> u64 {
    memory.created_at.max(memory.used_at.unwrap_or_default())
}

/// Whether a use now is worth writing down.
pub(crate) fn is_new_use(memory: &Memory, now_ms: u64) -> bool {
    now_ms.saturating_sub(last_use(memory)) >= USE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(created_at: u64, used_at: Option<u64>) -> Memory {
        Memory {
            created_at,
            used_at,
            ..Memory::default()
        }
    }

    #[test]
    fn half_is_lost_after_the_half_life_and_all_of_it_never() {
        let decay = Decay::new(&Config::default());
        let after = |days: u64| decay.factor(&made(0, None), days * USE_MS);
        assert!((after(0) - 1.0).abs() < 1e-9);
        assert!((after(30) - 0.95).abs() < 1e-9);
        assert!(after(10_000) > 0.9 - 1e-9);
    }

    #[test]
    fn a_use_makes_it_fresh_and_is_written_once_a_day() {
        let decay = Decay::new(&Config::default());
        let now = 100 * USE_MS;
        let used = made(0, Some(now - USE_MS));
        assert!(decay.factor(&used, now) > decay.factor(&made(0, None), now));
        assert!(is_new_use(&used, now) && !is_new_use(&used, now - 1));
        // A clock that went back is no reason to panic.
        assert!((decay.factor(&made(now, None), 0) - 1.0).abs() < 1e-9);
    }
}
