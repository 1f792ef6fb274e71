//! Entropy: for ids, for the spread of retries and for names of claims. Nothing here guards a secret.

use std::sync::atomic::{AtomicU64, Ordering};

/// Returns random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // A system without entropy still has to tell one record from the next: time, process and a count do.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let seed = crate::time::UnixMs::now().0 ^ u64::from(std::process::id()) << 40 ^ count << 20;
        let filler = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().into_iter().cycle();
        bytes.iter_mut().zip(filler).for_each(|(byte, filler)| *byte = filler);
    }
    bytes
}

/// Returns a random share of a whole, in thousandths.
#[cfg(feature = "deliver")]
pub(crate) fn permille() -> u32 {
    u32::from(u16::from_le_bytes(bytes())) * 1000 / 0x1_0000
}
