//! Free TCP ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ephemeral ports, so that no outgoing connection grabs a port between being
/// found free here and being bound by its server.
const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;

/// A port that was free a moment ago. Ports are handed out in a sequence that starts at a place of this process's own, so
/// that test processes running side by side do not meet.
///
/// # Panics
/// When no port of the range is free.
#[must_use]
pub fn free() -> u16 {
    free_run(1)
}

/// The first of `n` consecutive ports that were free a moment ago.
///
/// # Panics
/// When there is no such run.
#[must_use]
pub fn free_run(n: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    #[allow(clippy::cast_possible_truncation, reason = "the remainder fits")]
    let start = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(n, Ordering::Relaxed);
        let first = FIRST + (start.wrapping_add(offset)) % (COUNT - n);
        if (first..first + n).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return first;
        }
    }
    panic!("no {n} consecutive free ports between {FIRST} and {}", FIRST + COUNT);
}
