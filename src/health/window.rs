//! Which share of a worker's calls failed lately.

/// Fewer calls than this tell nothing.
const LEAST: u32 = 20;

/// Calls and failures of the last one or two halves of the window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    half: u64,
    now: (u32, u32),
    before: (u32, u32),
}

impl Window {
    /// A call went well, or not.
    pub(super) fn count(&mut self, failed: bool, now_ms: u64, window_ms: u64) {
        let half = now_ms / (window_ms / 2).max(1);
        if half != self.half {
            self.before = if half == self.half + 1 { self.now } else { (0, 0) };
            (self.now, self.half) = ((0, 0), half);
        }
        self.now.0 = self.now.0.saturating_add(1);
        self.now.1 = self.now.1.saturating_add(u32::from(failed));
    }

    /// Whether at least this share failed.
    pub(super) fn fails(&self, rate: f64) -> bool {
        let calls = self.now.0.saturating_add(self.before.0);
        let failed = self.now.1.saturating_add(self.before.1);
        calls >= LEAST && f64::from(failed) >= rate * f64::from(calls)
    }

    /// What was is of no account any more.
    pub(super) fn clear(&mut self) {
        *self = Self { half: self.half, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn old_calls_are_forgotten() {
        let mut window = Window::default();
        for n in 0..20 {
            assert!(!window.fails(0.5));
            window.count(n % 2 == 0, 10_000 + n, 2_000);
        }
        assert!(window.fails(0.5) && !window.fails(0.51));
        window.count(false, 11_000, 2_000);
        assert!(window.fails(0.47) && !window.fails(0.5));
        window.count(false, 12_500, 2_000);
        assert!(!window.fails(0.01));
        window.clear();
        (0..30).for_each(|_| window.count(true, 12_501, 2_000));
        assert!(window.fails(1.0));
    }
}
