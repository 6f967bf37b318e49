//! Waiting, with a line that counts down for whoever watches.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Waits; if standard error is a terminal, a line there says for what and how long.
pub async fn wait(delay: Duration, reason: &str) {
    let mut terminal = std::io::stderr();
    if !terminal.is_terminal() {
        return tokio::time::sleep(delay).await;
    }
    let mut left = delay;
    while !left.is_zero() {
        // A terminal that went away is no reason to fail.
        let _ = write!(terminal, "\r{}\x1b[K", line(reason, left));
        let _ = terminal.flush();
        let step = left.min(Duration::from_secs(1));
        tokio::time::sleep(step).await;
        left = left.saturating_sub(step);
    }
    let _ = write!(terminal, "\r\x1b[K");
    let _ = terminal.flush();
}

fn line(reason: &str, left: Duration) -> String {
    format!("{reason}, next try in {} s", left.as_secs_f64().ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_whole_seconds() {
        assert_eq!(
            line("waiting for the verifier", Duration::from_millis(1500)),
            "waiting for the verifier, next try in 2 s"
        );
    }
}
