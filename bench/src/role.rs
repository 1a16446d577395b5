//! What every measured process of ours does.

use std::io::{Read, Write};

/// Tells the harness a line.
pub(crate) fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    // The harness may be gone, and then so are we.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Ends this process when the harness goes away, however it does: its end of stdin closes then.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let mut nothing = [0; 64];
        while std::io::stdin()
            .read(&mut nothing)
            .is_ok_and(|read| read > 0)
        {}
        std::process::exit(0);
    });
}
