//! The question before data is given up or a file is cut.

use std::io::{self, Write};

/// Asks whether to go on; what is no clear yes is a no.
pub(crate) fn confirmed() -> bool {
    let _ = write!(io::stdout(), "Continue? [y/N]: ");
    let mut answer = String::new();
    let asked = io::stdout().flush().and_then(|()| io::stdin().read_line(&mut answer));
    asked.is_ok() && answer.starts_with(['y', 'Y'])
}
